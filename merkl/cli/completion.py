"""``merkl completion``: the script with which a shell completes merkl's words.

It decides how each shell is told; what is offered is decided when TAB is pressed, by the merkl that is then on PATH.

The invariant: pressing TAB starts ``merkl --complete`` and nothing else, and an error there is silence.
"""

import sys
from typing import Final

import click

from merkl.cli.options import Command, shared

_BASH: Final = r"""# merkl's words for bash: eval "$(merkl completion bash)" in ~/.bashrc, or this file in
# ~/.local/share/bash-completion/completions/merkl
_merkl() {
    local kind='' word
    COMPREPLY=()
    while IFS= read -r word; do
        if [[ -z $kind ]]; then kind=${word%%$'\t'*}; else COMPREPLY+=("$word"); fi
    done < <(command merkl --complete bash "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null </dev/null)
    case $kind in
        open) compopt -o nospace 2>/dev/null ;;
        files) compopt -o default -o bashdefault 2>/dev/null ;;
        dirs) compopt -o dirnames -o filenames 2>/dev/null ;;
    esac
}
complete -F _merkl merkl
"""

_ZSH: Final = r"""#compdef merkl
# merkl's words for zsh: eval "$(merkl completion zsh)" in ~/.zshrc, after compinit; or this file
# as _merkl in a directory of $fpath.
_merkl() {
    local answer kind prefix word
    local -a lines whole open
    answer="$(command merkl --complete zsh "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null </dev/null)"
    [[ -n $answer ]] || return 1
    lines=("${(@f)answer}")
    kind="${lines[1]%%$'\t'*}" prefix="${lines[1]#*$'\t'}"
    if [[ $kind == files || $kind == dirs ]]; then
        [[ -n $prefix ]] && compset -p ${#prefix}
        if [[ $kind == dirs ]]; then _files -/; else _files; fi
        return
    fi
    for word in "${(@)lines[2,-1]}"; do
        if [[ "${${word//\\:/}%%:*}" == *[=/,] ]]; then open+=("$word"); else whole+=("$word"); fi
    done
    _describe -V -t merkl merkl whole -- open -S ''
}
if [[ "${funcstack[1]}" == _merkl ]]; then _merkl "$@"; else compdef _merkl merkl; fi
"""

_FISH: Final = r"""# merkl's words for fish: save this file as ~/.config/fish/completions/merkl.fish
function __merkl_complete
    set -l words (commandline -opc) ''
    while test (count $words) -gt 1; and string match -qr '^\w+=' -- $words[1]
        set -e words[1]
    end
    set -l typed (string unescape -- (commandline -ct) 2>/dev/null; or commandline -ct)
    set words[-1] "$typed"
    set -l lines (command merkl --complete fish $words[2..-1] 2>/dev/null </dev/null)
    set -l head (string split -m 1 \t -- $lines[1])
    switch "$head[1]"
        case files
            for path in (__fish_complete_path (string replace -- "$head[2]" '' "$typed"))
                echo "$head[2]$path"
            end
        case dirs
            for path in (__fish_complete_directories (string replace -- "$head[2]" '' "$typed"))
                echo "$head[2]$path"
            end
        case '*'
            test (count $lines) -gt 1; and string join \n -- $lines[2..-1]
    end
end
complete -c merkl -f -k -a '(__merkl_complete)'
"""

_SCRIPTS: Final = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


@click.command(cls=Command, short_help="Print the script with which a shell completes merkl's words.")
@click.argument("shell", type=click.Choice(list(_SCRIPTS)))
@shared()
def command(shell: str) -> int:
    """Print a script that makes TAB complete commands, options, targets, their parameters and outputs.

    The first lines of the script say where it goes.  Pressing TAB loads no Merklfile: what is offered comes from the
    list of targets that merkl wrote down when it last loaded one.
    """
    sys.stdout.write(_SCRIPTS[shell])
    return 0
