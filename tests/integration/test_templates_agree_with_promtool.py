"""promtool expands the same templates for the same series to the same texts."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess

import pytest

from ordinaut_ext_observability.alerts.templates import TemplateError, compile_template

PROMTOOL = shutil.which("promtool")

VALUES = [
    *(0.0, 1.0, -1.0, 2.5, 0.1, 1 / 3, 1234.5678, -1234.5678, 59.99, 60.0, 3661.5, 90061.0, -200000.0, 899.99),
    *(1e-5, 1.2345e-4, 1e-12, 1e5, 123456.0, 999999.0, 1e6, 1234567.0, 1e9, 1435065584.128, 1e15, 1e-320),
    *(0.5, 1.5, 0.125, 1023.0, 1024.0, 1048576.0, 999.95, 9.9999e5, math.nan, math.inf, -math.inf),
]
LABELS = {"job": "api", "instance": "[::1]:80", "text": 'a "b"\nüß\\'}
EXTERNAL = {"zone": "eu"}
URL = "http://e.example/p"

OF_VALUES = [
    *("{{ $value }}", "{{ .Value }}", "{{ $.Value }}", "{{ humanize $value }}", "{{ $value | humanize1024 }}"),
    *("{{ humanizeDuration $value }}", "{{ humanizePercentage .Value }}", "{{ printf `%.2f` $value }}"),
    *(
        "{{ $value | printf `%5.1f|` }}",
        '{{ printf "%e %g %.3g %.0f %v" $value $value $value $value $value }}',
    ),
    *("{{ printf `%08.3f|%+.1f|% .1f|%6.2f%%|%-12.2e|%012v` $value $value $value $value $value $value }}",),
    *("{{ printf `%d %s %q %.2d %6d` $value $value $value $value $value }}",),
    *("{{ if $value }}yes{{ else }}no{{ end }}", "{{ with $value }}{{ . }}{{ else }}zero{{ end }}"),
    "{{ if 0 }}a{{ else if $value }}b{{ else if 1 }}c{{ else }}d{{ end }}",
]
ONCE = [
    *("plain }} text", "{{ $labels.job }}-{{ .Labels.job }}-{{ $.Labels.job }}-{{ $labels.none }}|", "{{ $labels }}"),
    *("{{ $labels.text }}", "{{ $externalLabels.zone }} {{ .ExternalLabels }} {{ $externalURL }} {{ .ExternalURL }}"),
    "a  {{- /* gone */ -}}  b  {{- 1 -}}  c {{/* gone }} too */}} d{{ `}}` }}",
    "x\n{{- if 1 }}\n  y{{ end }}\n\n{{- `z` -}}\n\n",
    '{{ "a\\"b\\\\ \\t\\n" }}{{ `a\\"b` }} {{ -3 }} {{ 3.50 }} {{ 1e3 }} {{ 1e6 }} {{ 1000000 }}',
    '{{ printf "%05d|%+d|% d|%-5d|%5.3d|%v|%f|%.2f|%+v" 42 42 42 42 5 7 5 5 2.5 }}',
    '{{ printf "%5s|%-5s|%.2s|%q|%v|%d|%.1f|%-6v|%.3q|%8q" "ab" "ab" "héllo" $labels.text "v" "x" "xyz" "y" "abcd" "z" }}',
    '{{ printf "100%%" }} {{ printf "%s %v" $labels $labels }} {{ printf "%%%d%%%%" 1 }}',
    '{{ printf "%s" "a" | toUpper | printf "%s-%s" "b" }} {{ toUpper "aé b" }} {{ "AÉ B" | toLower }}',
    "{{ humanize 1e20 }} {{ printf `%v %g %.0f` 1e21 -1e300 1e20 }}",
    "{{ humanize `1234567` }} {{ humanize 5 }} {{ humanizeDuration `90` }} {{ humanizePercentage `.5` }} {{ humanize1024 `2048` }}",
    "{{ humanizeTimestamp 1435065584.1287 }} {{ humanizeTimestamp -1.5 }} {{ humanizeTimestamp 0 }} {{ `1e9` | humanizeTimestamp }} {{ humanizeTimestamp `NaN` }}",
    "{{ with query `q{job='a'}` }}{{ . | first | value }} {{ . | first | label `job` }}{{ end }}",
    "{{ with query `none` }}some{{ else }}none{{ end }} {{ with printf `q{job='%s'}` .Labels.job | query }}{{ . | first | value | humanize }}{{ end }}",
    "{{ range query `q` | sortByLabel `job` }}{{ .Labels.job }}={{ .Value }}{{ $value }}, {{ end }}",
    "{{ range query `none` }}{{ else }}none{{ end }} {{ with $labels }}{{ .job }}{{ end }}",
    "{{ value (first (query `q{job='a'}`)) | printf `%.1f` }}",
]
FAIL = [
    *("{{ query `none` | first }}", "{{ humanize `one` }}", "{{ humanizeDuration $labels }}", "{{ toUpper 1 }}"),
    *("{{ $labels.job.x }}", "{{ .Foo }}", "{{ range $value }}{{ end }}", "{{ first $labels }}"),
    "{{ with query `q` }}{{ .Labels.job }}{{ end }}",
]
REFUSED = [
    *(
        "{{",
        "{{ }}",
        "{{ end }}",
        "{{ if 1 }}",
        "{{ else }}",
        "{{ `a` ",
        "{{ (1 }}",
        "{{ 1) }}",
        "{{ | humanize }}",
    ),
    *(
        "{{ $x }}",
        "{{ printf`a` }}",
        "{{ humanize$value }}",
        "{{ eq(1)(1) }}",
        "{{ nosuch }}",
        '{{ "a\n" }}',
        "{{ if 1 }}{{ else 2 }}{{ end }}",
        "{{ with 1 }}{{ else if 1 }}{{ end }}",
        "{{ 1 | 2 }}",
    ),
    *("{{ if }}{{ end }}", "{{ /* space */ }}", "{{ 1 :}}", '{{ "\\ud800" }}'),
]


def query(text):
    sample = {"__name__": "q", "job": "api", "instance": "1"}, 0.12345
    other = {"__name__": "q", "job": "a", "instance": "1"}, 7.0
    return [] if text == "none" else {"q": [other, sample], "q{job='a'}": [other]}.get(text, [sample])


def expanded(text, value, index):
    return compile_template(text).expand({**LABELS, "index": str(index)}, value, EXTERNAL, URL, query)


def promtool(*arguments):
    if PROMTOOL is None:
        pytest.fail("promtool is not on PATH") if os.environ.get("CI") else pytest.skip("promtool is not on PATH")
    return subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, timeout=120, check=False)


def rule(name, expression, templates):
    return {
        "alert": name,
        "expr": expression,
        "annotations": {f"a{index}": text for index, text in enumerate(templates)},
    }


def write(path, content):
    path.write_text(json.dumps(content))  # JSON is YAML
    return str(path)


def test_promtool_expands_them_to_the_same_texts(tmp_path):
    rules = [
        rule("OfValues", "v + 0", OF_VALUES),
        rule("Once", "v{index='0'} + 0", ONCE),
        rule("Fail", "v{index='0'} + 0", FAIL),
    ]
    series = [
        {
            "series": f"v{{job='api',instance='[::1]:80',text={json.dumps(LABELS['text'], ensure_ascii=False)},index='{index}'}}",
            "values": repr(value),
        }
        for index, value in enumerate(VALUES)
    ]
    series += [
        {"series": "q{job='a',instance='1'}", "values": "7"},
        {"series": "q{job='api',instance='1'}", "values": "0.12345"},
    ]

    def alerts(name, templates, values):
        return {
            "eval_time": "0s",
            "alertname": name,
            "exp_alerts": [
                {
                    "exp_labels": {**LABELS, "index": str(index)},
                    "exp_annotations": {f"a{at}": expanded(text, value, index) for at, text in enumerate(templates)},
                }
                for index, value in enumerate(values)
            ],
        }

    write(tmp_path / "rules.yml", {"groups": [{"name": "g", "rules": rules}]})
    tests = {
        "rule_files": ["rules.yml"],
        "tests": [
            {
                "input_series": series,
                "external_labels": EXTERNAL,
                "external_url": URL,
                "alert_rule_test": [alerts("OfValues", OF_VALUES, VALUES), alerts("Once", ONCE, VALUES[:1])],
            }
        ],
    }
    run = promtool("test", "rules", write(tmp_path / "tests.yml", tests))
    assert run.returncode == 0, run.stdout + run.stderr
    tests["tests"][0]["alert_rule_test"] = [{"eval_time": "0s", "alertname": "Fail", "exp_alerts": []}]
    shown = promtool("test", "rules", write(tmp_path / "tests.yml", tests))
    assert (shown.stdout + shown.stderr).count("<error expanding template: ") == len(FAIL)
    assert [text for text in FAIL if not expanded(text, 0.0, 0).startswith("<error expanding template: ")] == []


@pytest.mark.parametrize("text", REFUSED)
def test_what_promtool_refuses_is_refused(tmp_path, text):
    checked = promtool(
        "check", "rules", write(tmp_path / "rules.yml", {"groups": [{"name": "g", "rules": [rule("A", "up", [text])]}]})
    )
    assert checked.returncode != 0
    with pytest.raises(TemplateError):
        compile_template(text)
