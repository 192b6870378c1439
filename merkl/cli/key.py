"""``merkl key``: the key that this user signs with, and those that count.

It decides how keys are shown, and what is asked before any is trusted.  It prints a secret only where that was asked for.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Final

import click

from merkl.cli.options import Command, Options, options_of, shared
from merkl.dataclass import dataclass
from merkl.engine.project import Project
from merkl.errors import UsageError
from merkl.report.words import one_line, plural
from merkl.root import find_root
from merkl.trust.entries import ANY, Accepted, Entry, Revoked, SafeStore, Trusted, trusted, with_entry
from merkl.trust.personal import TRUST, key_file, make_own_key, own_key
from merkl.trust.signer import SECRET_VARIABLE, Signer
from merkl.trust.signing import SigningKey
from merkl.trust.trust import Trust, change_entries, read_entries, trusted_file

_WHATS: Final = ("new", "show", "trust", "list", "revoke")
_BUT_REVOKED: Final = "  revoked by you: `merkl key trust KEY` takes that back"


@dataclass(frozen=True, slots=True)
class _Asked:
    """What stands after ``merkl key``."""

    options: Options
    key: str | None
    allow: str | None
    namespace: str | None
    name: str | None
    store: str | None
    from_project: bool
    printed: bool
    replace: bool
    yes: bool


@click.command(cls=Command, short_help="Say whose results count, and make a key of your own.")
@click.argument("what", type=click.Choice(_WHATS), metavar="|".join(_WHATS))
@click.argument("key", required=False, metavar="[KEY]")
@click.option("--allow", metavar="WHAT", help="With trust: files, or files,pickle.")
@click.option("--namespace", metavar="NAME", help="With trust: where it counts; * for everywhere.")
@click.option("--name", metavar="NAME", help="With trust: whose key it is.")
@click.option("--from-project", is_flag=True, help="With trust: the keys that merkl.yaml proposes.")
@click.option("--store", metavar="DIR", help="With trust, revoke: a store that others can write to.")
@click.option("--print", "printed", is_flag=True, help="With new: print a key for CI, and keep none.")
@click.option("--replace", is_flag=True, help="With new: instead of the key there is.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@shared("json")
@click.pass_context
def command(
    context: click.Context,
    what: str,
    key: str | None,
    allow: str | None,
    namespace: str | None,
    name: str | None,
    from_project: bool,
    store: str | None,
    printed: bool,
    replace: bool,
    yes: bool,
) -> int:
    """Make, show, trust, list and revoke the keys that sign results in a remote.

    Results in a remote count only if you signed them, or somebody whose key you trust.  A key of your own is made when
    you first push.  With trust a KEY counts in the namespace of this project, for files; with --allow files,pickle also
    for pickles, which run code of whoever signed them when they are read.

    Exit code: 0, or 2 if a key or a setting is wrong.
    """
    given = _Asked(
        options_of(context), key, allow, namespace, name, store, from_project, printed, replace, yes
    )
    _refuse_strays(what, given)
    _DO[what](given)
    return 0


def _refuse_strays(what: str, given: _Asked) -> None:
    of_trust = {"--allow": given.allow, "--namespace": given.namespace, "--name": given.name,
                "--from-project": given.from_project}  # fmt: skip
    of_new = {"--print": given.printed, "--replace": given.replace}
    wrong = [name for name, value in of_trust.items() if value and what != "trust"]
    wrong += [name for name, value in of_new.items() if value and what != "new"]
    wrong += ["--store"] if given.store and what not in ("trust", "revoke") else []
    if wrong:
        raise UsageError(f"merkl key {what} takes no {', '.join(wrong)}", hint="`merkl key --help`")
    if given.key is not None and what not in ("trust", "revoke"):
        raise UsageError(f"merkl key {what} takes no key", hint="`merkl key trust KEY`")
    wanted = sum(map(bool, (given.key, given.store, given.from_project)))
    if what in ("trust", "revoke") and wanted != 1:
        some = "a KEY, --from-project or --store DIR" if what == "trust" else "a KEY or --store DIR"
        raise UsageError(f"merkl key {what} takes one of: {some}", hint="`merkl key list` shows the keys")


def _new(given: _Asked) -> None:
    if given.printed:
        made = SigningKey.new()
        _show(
            given,
            {"secret": made.secret(), "key": str(made.signer)},
            [
                f"{SECRET_VARIABLE}={made.secret()}",
                f"# a secret of CI; others trust what it signs with: merkl key trust {made.signer}",
            ],
        )
        return
    known = own_key(os.environ)
    if known is not None and os.environ.get(SECRET_VARIABLE):
        raise UsageError(
            f"you have a key: {known.signer}, of {SECRET_VARIABLE}",
            hint=f"`merkl key new --print` prints another to set {SECRET_VARIABLE} to; unset it to keep one in a file",
        )
    if known is not None and not given.replace:
        raise UsageError(
            f"you have a key: {known.signer}",
            hint="--replace makes another; what this one signed still counts for you until you revoke it",
        )
    if known is not None and known.is_pair():
        old = Trusted(known.signer, pickles=True, namespace=ANY, name="my-earlier-key")
        _change(given, lambda said: said if known.signer in _revoked(said) else with_entry(said, old))
    _show_own(given, make_own_key(os.environ, replace=given.replace, outside=_root(given)))


def _show_key(given: _Asked) -> None:
    known = own_key(os.environ)
    if known is None:
        makes = "the first push makes one, and so does `merkl key new`"
        if TRUST in os.environ:
            makes = f"under {TRUST} it comes from {SECRET_VARIABLE}: `merkl key new --print` prints one to set it to"
        raise UsageError("you have no key yet", hint=makes)
    _show_own(given, known)


def _show_own(given: _Asked, key: SigningKey) -> None:
    where = SECRET_VARIABLE if os.environ.get(SECRET_VARIABLE) else key_file(os.environ)
    lines = [str(key.signer), f"  in {where}", f"  others trust it with: merkl key trust {key.signer}"]
    _show(given, {"key": str(key.signer), "in": where}, lines)


def _trust(given: _Asked) -> None:
    if given.store is not None:
        path = os.path.realpath(os.path.join(given.options.cwd, given.store))
        _change(given, lambda entries: with_entry(entries, SafeStore(path)))
        _show(given, {"store": path}, [f"the store {path} is used, whoever else can write there"])
    elif given.from_project:
        _trust_proposed(given)
    else:
        entry = _entry(given)
        _change(given, lambda entries: with_entry(entries, entry))
        _show(given, _object(entry), [f"trusted {_line(entry)}"])


def _entry(given: _Asked) -> Trusted:
    assert given.key is not None
    signer = _signer(given.key)
    namespace = _trust_of(given).namespace if given.namespace is None else given.namespace
    try:
        return trusted(signer, given.allow or "files", namespace, given.name or "")
    except ValueError as error:
        raise UsageError(str(error), hint="`merkl key trust KEY --allow files,pickle`") from None


def _trust_proposed(given: _Asked) -> None:
    proposal = _trust_of(given).proposal
    if proposal is None:
        raise UsageError(
            "this project proposes no keys",
            hint="merkl.yaml may: trust: ['ed25519:… allow=files name=alice']",
        )
    revoked = _revoked(read_entries(os.environ))
    for each in proposal.keys:
        sys.stderr.write(f"{_line(each)}{_BUT_REVOKED if each.signer in revoked else ''}\n")
    counting = [each for each in proposal.keys if each.signer not in revoked]
    if not counting:
        raise UsageError(
            "you revoked every key that this project proposes", hint="`merkl key trust KEY` takes that back"
        )
    if not given.yes:
        if given.options.json or not sys.stdin.isatty():
            raise UsageError(
                f"{plural(len(counting), 'key')} can be trusted, and there is nobody to ask",
                hint="--yes trusts what is shown",
            )
        if not click.confirm("Use what these have signed?", default=False, err=True):
            raise click.Abort
    _change(given, lambda entries: with_entry(entries, Accepted(proposal.digest)))
    count = plural(len(counting), "key")
    _show(given, {"keys": [_object(each) for each in counting]}, [f"trusted {count}, until that changes"])


def _list(given: _Asked) -> None:
    entries, trust = read_entries(os.environ, outside=_root(given)), _trust_of(given)
    own, revoked = own_key(os.environ), _revoked(entries)
    lines = []
    if own is not None:
        counts = _line(Trusted(own.signer, pickles=True, namespace=ANY, name="your own"))
        lines = [f"{counts}{_BUT_REVOKED if own.signer in revoked else ''}"]
    lines += [f"{_line(each)}{_BUT_REVOKED * (each.signer in revoked)}" for each in trust.executor_entries()]
    lines += [_line(each) for each in entries if not isinstance(each, Accepted)]
    proposed = () if trust.proposal is None else trust.proposal.keys
    accepted = bool(trust.proposal and Accepted(trust.proposal.digest) in entries and TRUST not in os.environ)
    state = "by this project" if accepted else "proposed by this project: `merkl key trust --from-project`"
    if TRUST in os.environ:
        state = f"proposed by this project, which says nothing under {TRUST}"
    lines += [f"{_line(each)}{_BUT_REVOKED if each.signer in revoked else f'  {state}'}" for each in proposed]
    where = TRUST if TRUST in os.environ else trusted_file(os.environ)
    found = {
        "version": 1, "in": where, "namespace": trust.namespace, "own": own and str(own.signer),
        "entries": [_object(each) for each in entries if not isinstance(each, Accepted)],
        "proposed": [_object(each) for each in proposed], "accepted": accepted,
    }  # fmt: skip
    makes = f"{SECRET_VARIABLE} would say yours" if TRUST in os.environ else "the first push makes yours"
    _show(given, found, lines or [f"no key is trusted, and you have none: {makes}"])


def _revoked(entries: list[Entry]) -> set[Signer]:
    return {each.signer for each in entries if isinstance(each, Revoked)}


def _revoke(given: _Asked) -> None:
    if given.store is not None:
        path = os.path.realpath(os.path.join(given.options.cwd, given.store))
        _change(given, lambda entries: [each for each in entries if each != SafeStore(path)])
        _show(given, {"store": path}, [f"the store {path} is used only if nobody else can write there"])
        return
    assert given.key is not None
    signer, own = _signer(given.key), own_key(os.environ)
    if own is not None and own.signer == signer:
        raise UsageError(
            "this is the key that you sign with", hint="`merkl key new --replace` first, then revoke it"
        )
    _change(given, lambda entries: with_entry(entries, Revoked(signer)))
    _show(
        given,
        _object(Revoked(signer)),
        [f"revoked {signer}: what it signed is not used, also where it is here already"],
    )


def _signer(text: str) -> Signer:
    try:
        return Signer.parse(text)
    except ValueError as error:
        raise UsageError(str(error), hint="its owner sees it with `merkl key show`") from None


def _change(given: _Asked, change: Callable[[list[Entry]], list[Entry]]) -> None:
    change_entries(os.environ, change, outside=_root(given))


def _root(given: _Asked) -> str:
    """The project that is meant; empty where there is none: HOME is not one because somebody stands there."""
    root, _ = given.options.place()
    return root if find_root(root) == root else ""


def _trust_of(given: _Asked) -> Trust:
    return Project(given.options.config()).trust


def _line(entry: Entry) -> str:
    if isinstance(entry, Trusted):
        return f"{entry.signer}  {entry.allow}  {entry.namespace}  {one_line(entry.name)}".rstrip()
    return str(entry)


def _object(entry: Entry) -> dict[str, object]:
    match entry:
        case Trusted():
            return {
                "key": str(entry.signer),
                "allow": entry.allow.split(","),
                "namespace": entry.namespace,
                "name": entry.name,
            }
        case Revoked():
            return {"key": str(entry.signer), "revoked": True}
        case SafeStore():
            return {"store": entry.path}
        case Accepted():
            return {"project": entry.digest}


def _show(given: _Asked, found: object, lines: list[str]) -> None:
    if given.options.json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        sys.stdout.write("".join(f"{line}\n" for line in lines))


_DO: Final[dict[str, Callable[[_Asked], None]]] = {
    "new": _new, "show": _show_key, "trust": _trust, "list": _list, "revoke": _revoke,
}  # fmt: skip
