"""Make the assistant of an enterprise, ask it, and remove it. Shows how far each step is."""

from hutch import Client, HutchError

client = Client()

steps = client.create_stream(
    "enterprise-assistant",
    from_="qwen2.5:3b",
    system="You are an enterprise assistant. Always maintain a professional tone.",
    parameters={"temperature": 0.7, "top_p": 0.9, "num_ctx": 4096},
)
for step in steps:
    share = f" {step.completed_bytes / step.total_bytes:.0%}" if step.total_bytes else ""
    print(step.status + share)

print(client.chat("enterprise-assistant", "Who are you?").text)
for model in client.ps():
    print(model.name, f"{model.size_bytes >> 20} MiB", model.state)

client.delete("enterprise-assistant")
try:
    client.show("enterprise-assistant")
except HutchError as error:
    print(error.http_status, error.message, error.hint)
