"""The rows of the table of commands for a machine's set-up, the catalog, tests of models, and deployments."""

from hutch.cli.command import INSECURE, JSON, MODEL, PREFIX, Command, arg, flag

MODELS = Command(
    "models",
    "hutch.cli.models:list_models",
    "Browse, fetch and test models",
    parts=(
        Command(
            "list",
            "hutch.cli.catalog:list_models",
            "List the models that can be fetched by name, and which are here",
            (
                PREFIX,
                arg(
                    "--size", metavar="SIZE", help="small (up to 4 billion parameters), medium (15) or large"
                ),
                arg("--type", metavar="TYPE", help="instruct, base, reasoning, code or embedding"),
                arg("--format", metavar="FORMAT", help="gguf or onnx"),
                arg("--device", metavar="DEVICE", help="what it can run on: cpu, gpu or npu"),
                flag("--variants", help="a line for each variant"),
                JSON,
            ),
        ),
        Command(
            "pull",
            "hutch.cli.pull:pull",
            "Fetch a model",
            (
                MODEL,
                arg("--from", dest="source", metavar="SOURCE", help="where from, instead of by its name"),
                flag("--replace", help="replace a model of this name that has other content"),
                INSECURE,
            ),
        ),
    ),
)

METRICS = Command(
    "metrics",
    "hutch.cli.metrics:metrics",
    "Show what the server counts",
    (flag("--scrape-config", help="print a configuration for Prometheus instead"),),
)

MANAGEMENT = (MODELS, METRICS)
