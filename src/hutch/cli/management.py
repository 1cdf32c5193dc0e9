"""The rows of the table of commands for a machine's set-up, the catalog, tests of models, and deployments."""

from hutch.cli.command import INSECURE, JSON, MODEL, PREFIX, Command, arg, flag

INIT = Command(
    "init",
    "hutch.cli.init:init",
    "Check this machine, write a file of settings, and suggest a model",
    (flag("--json", help="print what was found as JSON"),),
)

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
        Command(
            "test",
            "hutch.cli.model_test:test",
            "Ask a model something, and say whether it passed",
            (
                MODEL,
                flag("--benchmark", help="time it: first token, decode, prefill, several at once, memory"),
                arg("--picture", metavar="FILE.svg", help="where the benchmark's picture goes"),
                flag("--json", help="print the figures as JSON"),
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


DEPLOY = Command(
    "deploy",
    "hutch.cli.deploy:deploy",
    "Serve a model on a port of its own, as a file says",
    (
        arg(
            "action",
            nargs="?",
            default="apply",
            choices=("apply", "list", "remove", "rollback"),
            help="apply a file (the default), list deployments, remove one, or go back to the one before",
        ),
        arg("port", metavar="PORT", nargs="?", type=int, help="which one to remove or to roll back"),
        arg("--config", metavar="FILE", action="append", help="the deployment in JSON; may be given twice"),
        flag("--dry-run", help="show what would change, and change nothing"),
        flag("--json", help="print changes, deployments and figures as JSON"),
    ),
)

MANAGEMENT = (INIT, MODELS, DEPLOY, METRICS)
