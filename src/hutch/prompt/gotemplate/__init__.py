"""Go's text/template: read into a tree, and evaluated within a budget. Knows nothing of chats."""
