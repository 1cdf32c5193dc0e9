"""The words of the program: values and protocols. Standard library only; touches nothing outside itself."""
