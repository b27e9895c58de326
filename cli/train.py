"""``bwlm train``: options to a configuration, one library call, a table."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from brainwavlm_fast.config import ModelConfig, RunConfig, Setting, TrainConfig, settings
from brainwavlm_fast.config import preset as preset_of
from brainwavlm_fast.errors import ConfigError

from .options import DataOption, JsonOption, names
from .output import finish_with_json, first_process, print_table, progress, shared_command

_PANELS = ("Data", "Model", "Training", "Speed and memory", "Output")
_TABLE = (*settings(TrainConfig), *settings(RunConfig), *settings(ModelConfig))


def _parameters(setting: Setting) -> Iterator[inspect.Parameter]:
    """The parameters from which Typer makes a field's option, and the hidden older ones."""
    for spelling in setting.spellings():
        info = typer.Option(
            spelling.words,
            help=setting.option.help,
            hidden=spelling.hidden,
            rich_help_panel=setting.option.panel,
            metavar=setting.option.metavar or (f"[{'|'.join(setting.choices)}]" if setting.choices else None),
        )
        default = ",".join(map(str, setting.default)) if isinstance(setting.default, tuple) else setting.default
        if spelling.hidden or setting.option.required or default == "":
            default = None
        annotation: Any = Annotated[(bool if spelling.value else setting.kind) | None, info]
        yield inspect.Parameter(
            spelling.parameter, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
        )


def _with_table(command: Any) -> Any:
    """Give a command a parameter per option of the table in the place of its ``**options``."""
    named, others = [], {"data": "Data", "out": "Output", "resume": "Output", "as_json": "Output"}
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        if parameter.name in others:
            kind, info = get_args(parameter.annotation)
            info = copy(info)  # other commands share it
            info.rich_help_panel = others[parameter.name]
            named.append(parameter.replace(annotation=Annotated[kind, info], kind=inspect.Parameter.KEYWORD_ONLY))
    made = [*named, *(parameter for setting in _TABLE for parameter in _parameters(setting))]
    made.sort(key=lambda parameter: _PANELS.index(get_args(parameter.annotation)[1].rich_help_panel))
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    command.__signature__ = inspect.Signature([context, *made])
    return command


@shared_command
@_with_table
def train(
    context: typer.Context,
    data: DataOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the run, to be made.", show_default="runs/SUBJECT-VOXELS")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", help="Continue this run, as it was configured, or for more --epochs.")
    ] = None,
    as_json: JsonOption = False,
    **options: Any,
) -> None:
    """Fine-tune WavLM on the responses of one subject, or of several.

    The run is a folder: configuration, log, TensorBoard, one checkpoint per epoch. Ctrl-C saves and stops; --resume
    continues to the numbers of a run that was never stopped. On several GPUs: `torchrun --nproc-per-node 4
    --no-python bwlm train`, with the same options.

    Example: `bwlm train --subject S02 --roi lh --data ds003020 --out runs/s02-lh`
    """
    from brainwavlm_fast.memory import keep_freed_memory
    from brainwavlm_fast.training import resume_run, start_run

    keep_freed_memory()
    chosen = _chosen(context, options)
    if resume is None:
        config = _configuration(data, chosen)
        summary = start_run(out or Path("runs") / config.train.label, config, progress=progress())
    else:
        may = [setting.name for setting in _TABLE if setting.option.changeable]
        fixed = [*(name for name in chosen if name not in may), *(["out"] if out is not None else [])]
        if fixed:
            raise ConfigError(
                f"--resume takes {', '.join(fixed)} from {resume / 'config.json'}; a run that has begun can change no "
                f"more than data, {', '.join(may)}. Start a new run with another --out instead."
            )
        summary = resume_run(resume, data=data, changes=chosen, progress=progress())
    if first_process():
        _report(summary, as_json)


def _chosen(context: typer.Context, options: dict[str, Any]) -> dict[str, Any]:
    """Fields that the command line gives, by whichever of their names, with their values."""
    chosen: dict[str, Any] = {}
    for setting in _TABLE:
        given = []
        for spelling in setting.spellings():
            source = context.get_parameter_source(spelling.parameter)
            if source is not None and source.name == "COMMANDLINE":
                given.append(spelling.words.split("/")[0])
                chosen[setting.name] = spelling.value or setting.parse(options[spelling.parameter])
        if len(given) > 1:
            raise ConfigError(f"{' and '.join(given)} set the same thing ({setting.name}); give one of them.")
    return chosen


def _configuration(data: Path | None, chosen: dict[str, Any]) -> RunConfig:
    """The preset with the chosen fields, paths made absolute, and subjects as the data set names them."""
    from brainwavlm_fast.anatomy import with_absolute_files
    from brainwavlm_fast.data import find_dataset

    subjects = names(chosen.get("subject", ""))
    if not subjects:
        raise ConfigError("--subject is needed (for example --subject S02), or --resume RUN to continue a run.")
    preset = chosen.get("preset", "paper")
    model, train = preset_of(preset)
    chosen = {
        setting.name: type(setting.default)(chosen[setting.option.follows])
        for setting in _TABLE
        if setting.option.follows in chosen
    } | chosen
    if "roi" in chosen:
        chosen["roi"] = with_absolute_files(chosen["roi"])
    dataset = find_dataset(data)
    chosen["subject"], *more = map(dataset.subject, subjects)
    chosen["more_subjects"] = tuple(more)
    return RunConfig(str(dataset.root.resolve()), preset, model, train).with_settings({"model": model.model} | chosen)


def _report(summary: dict[str, Any], as_json: bool) -> None:
    if as_json:
        finish_with_json(summary)
    rows = [
        [epoch + (" (pre-trained)" if epoch == "0" else ""), f"{scores['correlation']:.4f}", f"{scores['loss']:+.4f}"]
        for epoch, scores in summary["readout_validation"].items()
    ]
    if rows:
        print_table("Readout on the validation stories", ["epoch", "correlation", "loss"], rows)
    typer.echo(f"{summary['steps']} steps in {summary['run']}. Next: bwlm evaluate {summary['run']}")
