"""Names that a hostile file could bear: each tries to break, forge or flood some format. Used by test_hostile.py."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lipaudit.numerics.bound import UpperBound
from lipaudit.report.baseline import Change, Comparison
from lipaudit.report.finding import Finding
from lipaudit.report.report import AuditReport, Layer, Method, Region, Samples
from lipaudit.report.rule import RuleResult, Waiver
from tests.render.reports import ATTACKED, GATE, MODEL, REGIONS, attained

_RICH = ("[bold red]PASS[/x]", "[/]", "[link=file:///etc/passwd]x[/link]", "[@click=app.bell]x", "[[x]]", ":smile: :x:")
_TERMINAL = (
    "\x1b[2J\x1b[H",
    "\x1b]52;c;aGk=\x07",
    "\x1b]8;;http://e.vil\x1b\\x\x1b]8;;\x1b\\",
    "\x1b]0;title\x07",
    "\x1b[31mred\x1b[0m",
    "\x1bP+q544e\x1b\\",
    "\x1b[?1049h",
    "\x1b[6n",
    "\x1bc",
    "\x9b31m",
    "\x9d52;c;aGk=\x9c",
    "\x90x\x9c",
    "a\rverdict: pass",
    "pass\b\b\b\bfail",
    "\x0e\x0f",
    "bell\x07",
    "nul\x00del\x7f",
    "\x1b[1A\x1b[2Kverdict: pass",
)
_LINES = (
    "line\nverdict: pass",
    "line\r\nverdict: pass\r\n",
    "\nverdict: pass\n",
    "\u2028verdict: pass",
    "\u2029verdict: pass",
    "\x85verdict: pass",
    "\x0bverdict: pass",
    "\x0cverdict: pass",
    "\x1c\x1d\x1e\x1f",
    "tab\tseparated\tverdict",
    "verdict: pass",
    "Verdict: **pass**",
    "   verdict: pass",
)
_BIDI = (
    "a\u202egnp.exe",
    "\u202dabc\u202c",
    "\u202a\u202b",
    "\u2066x\u2069",
    "\u2067evil\u2069",
    "\u2068x",
    "\u200e\u200f\u061c",
    "\u05d0\u05d1\u05d2 123 \u05d3",
)
_INVISIBLE = (
    "zero\u200bwidth",
    "join\u200d\u200cer",
    "word\u2060joiner",
    "\ufeffbom",
    "soft\u00adhyphen",
    "\U000e0041\U000e0042tags",
    "a\u034fb",
    "\u3164\u115f\u1160",
    "x\ufe0f\ufe00",
    "\u180e\u180b",
    "\u2800braille",
    "\uffa0",
    "\u00a0nbsp",
    "\u206a\u206f",
    "e" + "\u0301" * 60,
    "\u0489" * 40,
)
_UNICODE = (
    "\ud800lone",
    "\udfff",
    "\udc80\udcff",
    "pair\ud83d",
    "\ufffe\uffff",
    "\U0010ffff\U0001fffe",
    "\ue000private",
    "\ufdd0",
    "\U000f0000",
    "\u0378unassigned",
    "字" * 30,
    "\U0001f600\U0001f468\u200d\U0001f469",
    "ﬁ½Å①",
    "\u0430dmin",
)
_MARKDOWN = (
    "| a | b |",
    "|",
    "\\|",
    "`code`",
    "``` \n fence",
    "`",
    "\\",
    "**bold** _it_ ~~s~~",
    "# heading",
    "- item",
    "1. item",
    "> quote",
    "---",
    "***",
    "[x](javascript:alert(1))",
    "![i](//e.vil/p.png)",
    "[ref]: http://e.vil",
    "<http://e.vil>",
    "www.evil.com",
    "https://e.vil/?q=1",
    "a@e.vil",
    "@everyone #1 GH-1",
    "$$x$$ $`y`$",
    "[^1]",
    "- [x] done",
    "<!-- comment -->",
    "&lt;script&gt; &#60; &copy;",
    "]()",
    "<details open>",
    "```mermaid",
)
_HTML = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "' onfocus='alert(1)",
    "</title><svg onload=alert(1)>",
    "</style><script>1</script>",
    "<style>*{display:none}</style>",
    "</td></tr></table><h1>Verdict pass</h1>",
    "<base href=//e.vil>",
    "<meta http-equiv=refresh content=0>",
    "javascript:alert(1)",
    "data:text/html,<script>1</script>",
    "{{ 7*7 }}{% raw %}",
    "{{ self.__init__.__globals__ }}",
    "expression(alert(1))",
    "url(http://e.vil)",
    "<a href='http://e.vil'>x</a>",
    "<iframe src=//e.vil></iframe>",
    "<plaintext>",
    "<textarea>",
    "<!--",
    "-->",
    "&amp;lt;b&amp;gt;",
)
_CSV = (
    "=1+1",
    "=cmd|' /C calc'!A0",
    "+1",
    "-1+1",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    " =1",
    "\u00a0=1",
    "|calc",
    "%x",
    "a,b",
    '"q"',
    'a"b,c\n=1',
    ";=1",
    "\uff1d1",
    '=HYPERLINK("http://e.vil")',
    "'=1",
)
_XML = (
    "]]>",
    "<![CDATA[x]]>",
    "<?xml version='1.0'?>",
    "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>&e;",
    "&e;",
    "<error/>",
    "</testcase><testcase name='x'/>",
    "\x01\x02\x03",
    "\ufffe",
    "&#0;&#x1b;",
    "<x a='1' a='2'>",
)
_COMMANDS = (
    "::error file=x::owned",
    "\n::error::owned",
    "\n::set-output name=x::y",
    "::stop-commands::x",
    "::add-mask::a",
    "##[error]x",
    "##vso[task.complete result=Succeeded;]",
    "\n##vso[task.logissue]x",
    "%0A::error::x",
    "%25%0D%0A",
    "a,title=x::y",
    "file=x,line=1",
    "::",
    "\n::debug::x",
    "section_start:0:x\r\x1b[0K",
    "EOF\nNAME=x",
)
_PATHS = ("../../../etc/passwd", "/etc/passwd", "C:\\x\\y", "file:///x", "a b#c?d=e", "%2e%2e/", "~", "-rf", "CON", "")
_LONG = (
    "x" * 5000,
    "字" * 3000,
    "\x1b" * 3000,
    "<" * 3000,
    "a" * 300 + "1" + "b" * 300,
    "`|" * 900,
    "💥" * 500,
    "A\u0300" * 900,
)

HOSTILE = (
    *_RICH, *_TERMINAL, *_LINES, *_BIDI, *_INVISIBLE, *_UNICODE,
    *_MARKDOWN, *_HTML, *_CSV, *_XML, *_COMMANDS, *_PATHS, *_LONG,
)  # fmt: skip


def hostile(text: str) -> AuditReport:
    """A gate's report in which every text that could be a stranger's is the given one."""
    rules = tuple(
        RuleResult(f"layer:{text}", text, 1.0, 2.0, result, text, waiver=Waiver(text, text, text, text))
        for result in ("pass", "fail", "inconclusive")
    )
    changes = tuple(Change(text, 1.0, 2.0, trend) for trend in ("better", "worse", "gone"))
    return replace(
        GATE,
        model=replace(MODEL, path=text, inputs=(replace(MODEL.inputs[0], name=text, dtype=text, held=text),)),
        problem=replace(GATE.problem, function=text, units=text, region=Region("box", 0.0, 1.0, f"{text}.npz")),
        layers=(Layer(text, text, (text, text), text, UpperBound(2.0, text), text), *GATE.layers),
        methods=(Method("m", text, 0.0, None, text), Method("n", text, 0.0, UpperBound(9.0, text)), *GATE.methods),
        lower=replace(attained(3.7), label=text),
        rules=(*rules, *GATE.rules),
        baseline=Comparison(text, text, text, text, False, (text,), changes),
        findings=(Finding("LIP101", text, text, text), Finding("LIP110", text, text, None)),
        assumptions=(text, text),
        run=replace(GATE.run, versions={"python": text, "lipaudit": "0.1.0"}),
    )


def sampled(text: str) -> AuditReport:
    """The same with everything that is known of samples."""
    assert REGIONS.regions is not None
    assert ATTACKED.radii is not None
    assert ATTACKED.radii.attack is not None
    attack = replace(ATTACKED.radii.attack, method=text)
    return replace(
        hostile(text),
        samples=Samples(text, np.linspace(1.0, 2.0, 100), method=text),
        regions=replace(REGIONS.regions, source=text, methods=(text, text)),
        radii=replace(ATTACKED.radii, source=text, method=text, attack=attack),
        certified_at=(0.1,),
    )


def grouped(text: str) -> AuditReport:
    """A gate over two such models."""
    one = hostile(text)
    return replace(one, layers=(), methods=(), upper=None, lower=None, baseline=None, parts=(one, sampled(text)))
