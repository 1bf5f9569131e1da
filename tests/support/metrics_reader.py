"""Reading metrics as Prometheus does."""

from prometheus_client.parser import text_string_to_metric_families

from longlive.serving.metrics import Metrics


def figures(metrics: Metrics) -> dict[str, float]:
    """Every sample as Prometheus would store it: ``name{label=value}`` to value."""
    found = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        assert family.documentation, family.name
        for sample in family.samples:
            labels = ",".join(f"{name}={word}" for name, word in sample.labels.items())
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found
