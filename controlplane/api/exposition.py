"""Prometheus' text format. Pure: values in, bytes out; what is measured, and when, is the caller's.

Both services say what they measure in it. Why these lines are ours: docs/adr/0040.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_VALUE = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_HELP = str.maketrans({"\\": r"\\", "\n": r"\n"})


@dataclass(frozen=True, slots=True)
class Sample:
    """One number, and the labels that tell it from its siblings."""

    value: float
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Metric:
    """One name, its kind (`gauge` or `counter`), what it means, and its samples."""

    name: str
    kind: str
    meaning: str
    samples: tuple[Sample, ...]


def gauge(name: str, meaning: str, value: float, **labels: str) -> Metric:
    return Metric(name, "gauge", meaning, (Sample(value, labels),))


def counter(name: str, meaning: str, value: float) -> Metric:
    return Metric(name, "counter", meaning, (Sample(value, {}),))


def by_label(kind: str, name: str, meaning: str, label: str, values: Mapping[str, float]) -> Metric:
    """One sample per value of one label."""
    return Metric(name, kind, meaning, tuple(Sample(values[key], {label: key}) for key in sorted(values)))


def render(metrics: Iterable[Metric]) -> bytes:
    return "".join(line for metric in metrics for line in _lines(metric)).encode()


def _lines(metric: Metric) -> Iterable[str]:
    yield f"# HELP {metric.name} {metric.meaning.translate(_HELP)}\n"
    yield f"# TYPE {metric.name} {metric.kind}\n"
    for sample in metric.samples:
        labels = ",".join(f'{key}="{value.translate(_VALUE)}"' for key, value in sample.labels.items())
        yield (
            f"{metric.name}{{{labels}}} {sample.value!r}\n" if labels else f"{metric.name} {sample.value!r}\n"
        )
