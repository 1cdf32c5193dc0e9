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

KEYS = Command(
    "keys",
    "hutch.cli.keys:list_keys",
    "Make, list and revoke the keys of a server here",
    parts=(
        Command(
            "create",
            "hutch.cli.keys:create",
            "Make a key, and show it this once",
            (
                arg("name", metavar="NAME", help="whose key it is"),
                arg(
                    "--expires",
                    metavar="TIME",
                    help="when it ends: in 30d, 12h, 2w, or on a day such as 2027-01-31",
                ),
                arg(
                    "--model",
                    dest="models",
                    action="append",
                    metavar="MODEL",
                    help="only this model; may be given several times (default: every model)",
                ),
                arg(
                    "--weight",
                    type=float,
                    default=1.0,
                    metavar="W",
                    help="its share beside others (default: 1)",
                ),
                arg(
                    "--priority",
                    type=int,
                    default=0,
                    metavar="N",
                    help="a higher one goes first (default: 0)",
                ),
                arg(
                    "--requests-per-minute", type=int, default=0, metavar="N", help="a limit (default: none)"
                ),
                arg("--tokens-per-minute", type=int, default=0, metavar="N", help="a limit (default: none)"),
                flag("--json", help="print the key and what it may as JSON"),
            ),
        ),
        Command(
            "list", "hutch.cli.keys:list_keys", "List the keys", (flag("--json", help="print them as JSON"),)
        ),
        Command(
            "revoke",
            "hutch.cli.keys:revoke",
            "Forget a key, at once",
            (arg("name", metavar="NAME", help="whose key it is"),),
        ),
    ),
)

TOP = Command(
    "top",
    "hutch.cli.top:top",
    "Watch models, slots, the queue, and who uses them",
    (flag("--once", help="print it once"), flag("--json", help="print the API's own JSON, once")),
)

TUNE = Command(
    "tune",
    "hutch.cli.tune:tune",
    "Measure how models run best on this machine, and use it from then on",
    (
        arg("model", metavar="MODEL", nargs="?", help="name of a model (default: all that write text)"),
        arg(
            "--seconds", type=float, default=120.0, metavar="N", help="the longest it may take (default: 120)"
        ),
        flag("--force", help="measure again what is tuned already"),
        flag("--json", help="print values and figures as JSON"),
    ),
)

MANAGEMENT = (INIT, MODELS, DEPLOY, METRICS, KEYS, TOP, TUNE)
