"""Results that are kept for one build only: forgotten once it has ended.

It decides nothing about which these are: ``future.cache_temporarily()`` says so.

The invariant: what something else needs too, a record, a sidecar or a build that is going on, keeps its bytes.
"""

from merkl.engine.judge import Judge
from merkl.engine.project import Project
from merkl.engine.roots import roots_of
from merkl.store.builds import live_builds
from merkl.store.choice import GRACE_S
from merkl.store.clearing import Meant, clear


def clear_brief(project: Project) -> None:
    """Forget the results of the nodes that are kept briefly, with their bytes."""
    nodes = list(project.brief.values())
    judge = Judge(project.store, project.first_change)
    judge.want(nodes)
    contents = [judge.steps[node.key].content for node in nodes]
    named = frozenset({*(node.key for node in nodes), *(key for key in contents if key is not None)})
    if not project.store.by_key(list(named)) and not project.store.by_content_key(list(named)):
        return
    if project.caches is not None:
        project.caches.forget(named)
    roots = roots_of(project, skip_unreadable=True)
    meant = Meant(named, digests=frozenset(roots.digests), trees=frozenset(roots.trees))
    going_on = project.store.users() or live_builds(project.config.state)
    clear(project.store, meant, state_dirs=[project.config.state], grace_s=GRACE_S if going_on else -1.0)
