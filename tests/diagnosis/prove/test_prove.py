"""``gptface prove`` without a GPU: interpreted, with planted faults, and what it writes down."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gptface
from gptface.cli.main import main
from gptface.diagnosis.prove import attention, lookup, pool, proof, prove_tuned
from gptface.diagnosis.prove.case import Case, Found, reproduction
from gptface.diagnosis.prove.families import families
from gptface.diagnosis.prove.tuning import Tuned
from gptface.errors import InputError
from gptface.kernels import inventory, ledger
from gptface.ops import proofs
from tests.helpers.gpu_records import believe_in_a_gpu

ROOT = Path(__file__).resolve().parents[3]
SCRIPTED = (sys.executable, "-m", "tests.helpers.scripted_worker")
PLANTED = (sys.executable, "-m", "tests.helpers.planted_worker")
# Few, small and of both families: the interpreter takes seconds for each.
CHOSEN = {"attention": ("bfloat16, 64, one query",), "vq": ("float32, 8, few rows",)}


@pytest.fixture
def few_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    def few(interpret: bool) -> dict[str, list[Case]]:
        assert interpret
        return {family: [case for case in families(True)[family] if case.name in names]
                for family, names in CHOSEN.items()}  # fmt: skip

    monkeypatch.setattr(proof, "families", few)


@pytest.fixture(autouse=True)
def from_the_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Workers start beside the tests, and the user's ledger lies in a folder of the test."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("GPTFACE_LEDGER", str(tmp_path / "home" / "ledger.json"))
    proofs.forget()
    yield tmp_path / "home" / "ledger.json"
    monkeypatch.undo()
    proofs.forget()


# --- the hard set -----------------------------------------------------------------------------------------------------


def test_every_kernel_has_cases_and_every_case_a_name_of_its_own() -> None:
    spoken_of = set()
    for family, cases in families(False).items():
        assert len({case.name for case in cases}) == len(cases), family
        for case in cases:
            assert {inventory.family(kernel) for kernel in case.kernels()} == {family}
            spoken_of.update(case.kernels())
    assert spoken_of == set(inventory.KERNELS)


def test_what_the_hard_set_holds() -> None:
    cases = attention.cases()
    for dtype in ("bfloat16", "float16", "float32"):
        own = [case for case in cases if case.dtype == dtype]
        assert any(case.contained for case in own) and any(case.head_dim == 64 for case in own)
        assert any(case.mask == "random 2" for case in own)
    assert any(case.dropout for case in cases) and any(case.strided for case in cases)
    assert {case.head_dim for case in cases} >= {16, 32, 40, 64, 80, 128, 256}
    assert {case.precision for case in lookup.cases("triton")} == {"exact", "tf32x3", "tf32", "bf16"}


@pytest.mark.parametrize("family", list(families(False)))
def test_what_failed_is_printed_as_lines_that_repeat_it(family: str) -> None:
    for case in families(False)[family]:
        lines = reproduction(case, "cuda").splitlines()
        names: dict[str, Any] = {}
        exec(lines[0], names)
        call = lines[1].removeprefix("for found in ").removesuffix(".run('cuda'):")
        assert eval(call, names) == case


@pytest.mark.parametrize(("error", "passes"), [(0.0, True), (1.0, True), (1.01, False), (float("nan"), False)])
def test_an_error_passes_up_to_what_is_allowed_and_never_as_a_nan(error: float, passes: bool) -> None:
    assert Found("vq.decide", "x", error).passed == passes


# --- the whole command in the interpreter -----------------------------------------------------------------------------


@pytest.mark.usefixtures("few_cases")
def test_interpreted_command_runs_and_says_that_it_is_no_proof(
    capsys: pytest.CaptureFixture[str], from_the_checkout: Path
) -> None:
    pytest.importorskip("triton")
    assert main(["prove", "--interpret", "--workers", "1"]) == 0
    text = capsys.readouterr().out
    assert "no proof, and nothing is recorded" in text and "recorded in" not in text
    assert text.count(" passed ") == 6 and text.count("not run") == 3
    assert not from_the_checkout.exists()


@pytest.mark.usefixtures("few_cases")
def test_a_planted_wrong_kernel_is_caught_and_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("triton")
    monkeypatch.setitem(proof.prove.__kwdefaults__, "command", PLANTED)
    assert main(["prove", "--interpret", "--workers", "1"]) == 1
    text = capsys.readouterr().out
    table = [line.split() for line in text.split("\n\n")[0].splitlines()[1:]]
    states = {line[0]: line[1] for line in table}
    wrong = {"attention.grad_key_value", "vq.nominate"}
    assert {kernel for kernel, state in states.items() if state == "failed"} - {"vq.decide"} == wrong
    assert "# attention.grad_key_value failed in 'bfloat16, 64, one query': grad_key: " in text
    assert "from gptface.diagnosis.prove.attention import AttentionCase" in text


def test_without_a_gpu_it_is_one_sentence(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["prove"]) == 2
    assert "prove: no CUDA device; --interpret" in capsys.readouterr().err
    assert main(["prove", "--kernel", "atention"]) == 2
    assert "kernel 'atention' is not known; allowed: attention.bounds" in capsys.readouterr().err


def test_an_interpreter_that_breaks_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "installed_triton", lambda: "3.6.0")
    monkeypatch.setattr("numpy.__version__", "2.4.1")
    with pytest.raises(InputError, match=r"interpreter of triton 3\.6\.0 breaks with NumPy 2\.4\.1"):
        gptface.prove(interpret=True)
    monkeypatch.setattr("numpy.__version__", "2.2.6")
    assert proofs.interpreter_problem() is None


# --- processes that end badly -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "patience", "words"),
    [
        ("exit", 60.0, "its process ended with 3: the last words"),
        ("hang", 4.0, "no answer within 4 s"),
        ("dead", 60.0, "CUDA error"),
    ],
)
def test_a_process_that_ends_badly_is_a_failed_case_and_the_others_run(kind: str, patience: float, words: str) -> None:
    cases = [("vq", lookup.LookupCase(name)) for name in ("first", "bad", "last")]
    shares: list[str] = []
    outcomes = pool.run_cases(
        cases, device=0, interpret=False, workers=1, done=lambda outcome: shares.append(outcome.case.name),
        command=[*SCRIPTED, kind], patience=patience,
    )  # fmt: skip
    states = {outcome.case.name: outcome for outcome in outcomes}
    assert shares == ["first", "bad", "last"]
    assert states["first"].passed and states["last"].passed
    assert not states["bad"].passed and words in states["bad"].error


# --- what is written down ---------------------------------------------------------------------------------------------


@pytest.fixture
def a_gpu(monkeypatch: pytest.MonkeyPatch, from_the_checkout: Path) -> Path:
    believe_in_a_gpu(monkeypatch, from_the_checkout)
    monkeypatch.setattr(inventory, "_built", lambda: dict.fromkeys(inventory.CUDA_FOR, "ab" * 32))
    monkeypatch.setattr(inventory, "cuda_library", lambda: Path("library.so"))
    return from_the_checkout


def test_what_passed_is_recorded_and_taken(a_gpu: Path) -> None:
    assert proofs.unproven("attention", 0) is not None
    found = gptface.prove(["attention", "vq.cuda"], workers=1, command=[*SCRIPTED, "pass"])
    assert found.passed and found.ledger == a_gpu and not found.interpreted
    records, problem = ledger.read(a_gpu)
    assert not problem and {record.kernel for record in records} == {
        *(kernel for kernel in inventory.KERNELS if kernel.startswith("attention.")), "vq.cuda",
    }  # fmt: skip
    record = records[0]
    assert (record.architecture, record.gpu, record.outcome, record.worst_error) == ("sm_90", "NVIDIA H200", "passed",
                                                                                    0.5)  # fmt: skip
    assert record.cases == len(attention.cases()) or record.kernel == "attention.bounds"
    assert proofs.unproven("attention", 0) is None and proofs.unproven("vq.cuda", 0) is None
    assert proofs.unproven("vq", 0) is not None


def test_a_kernel_that_fails_is_recorded_as_failed(a_gpu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = families(False)
    monkeypatch.setattr(proof, "families", lambda interpret: {**everything, "vq": [lookup.LookupCase("bad")]})
    found = gptface.prove(["vq"], workers=1, command=[*SCRIPTED, "exit"])
    assert not found.passed
    records, _ = ledger.read(a_gpu)
    assert {(record.outcome, record.failed_case) for record in records} == {("failed", "bad")}
    assert "failed (bad) on NVIDIA H200" in str(proofs.unproven("vq", 0))


def test_a_home_that_cannot_be_written_is_a_warning(
    a_gpu: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("GPTFACE_LEDGER", str(tmp_path / "file" / "ledger.json"))
    monkeypatch.setitem(proof.prove.__kwdefaults__, "command", (*SCRIPTED, "pass"))
    assert main(["prove", "--kernel", "vq.cuda", "--workers", "1"]) == 0
    said = capsys.readouterr()
    assert "vq.cuda  passed" in said.out
    assert "warning: nothing was recorded: the ledger" in said.err and "cannot be written" in said.err


def test_a_cuda_library_that_says_nothing_of_its_sources_is_not_run(
    a_gpu: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory, "_built", dict)
    found = gptface.prove(["vq.cuda"], workers=1, command=[*SCRIPTED, "pass"])
    assert found.kernels[0].outcome == "not run" and "reinstall" in found.kernels[0].reason
    assert ledger.read(a_gpu)[0] == []


@pytest.mark.parametrize("kind", ["pass", "exit"])
def test_tuned_tables_that_fail_their_proof_are_removed(
    a_gpu: Path, kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    table = tmp_path / "attention_sm_90.json"
    table.write_text("{}")
    timed = [Tuned("attention", table, ((("forward", 16, 64, None), 2.0, 1.0),), 1, 30), Tuned("vq", None, (), 0, 32)]
    monkeypatch.setattr(proof, "tune", lambda device, minutes, check: timed)
    everything = families(False)
    monkeypatch.setattr(
        proof, "families", lambda interpret: {**everything, "attention": [attention.AttentionCase("bad")]}
    )
    tuned, again = prove_tuned(workers=1, command=[*SCRIPTED, kind])
    assert tuned == timed and again is not None and again.passed == table.exists() == (kind == "pass")


def test_tuning_needs_a_gpu_and_some_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prove", "--interpret", "--tune"]) == 2
    assert "--tune times kernels on a GPU" in capsys.readouterr().err
    assert main(["prove", "--tune", "--minutes", "0"]) == 2
    assert "--minutes 0; allowed: more than 0" in capsys.readouterr().err


@pytest.mark.gpu
def test_every_kernel_passes_on_this_gpu(from_the_checkout: Path) -> None:
    found = gptface.prove()
    assert found.passed, f"{found.table()}\n{found.failing()}"
    assert found.ledger == from_the_checkout
