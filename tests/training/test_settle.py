"""Steps and epochs of a run before anything is trained."""

from playlist_pretrain.demo import world as tables
from playlist_pretrain.demo.world import make_world
from playlist_pretrain.playlists.groups import groups_path
from playlist_pretrain.playlists.match import match_groups
from playlist_pretrain.training.pretrain_data import settle
from playlist_pretrain.training.recipes import PretrainRecipe


def test_the_demo_preset_comes_to_800_steps(make_collection, tmp_path):
    """With the tracks and playlists of world 1, whose mels are noise here.

    Its first epoch of Playlist TCO has three batches of 32, as epochs of others have, but the
    shortest has two.
    """
    world = make_world(1)
    ids = sorted(world.track_ids[song] for song in world.songs("demo"))
    collection = make_collection(tmp_path / "c", [256] * len(ids), ids=ids, per_shard=60)
    entries = (
        (name, [world.track_ids[song] for song in songs]) for name, songs in tables.playlists(world)
    )
    groups, _ = match_groups(entries, collection, "playlists")
    groups.save(groups_path(collection.path, "playlists"))
    asked = PretrainRecipe(preset="demo", pairs="playlist_tco", collection=str(collection.path))
    recipe, data = settle(asked)
    assert 800 <= recipe.epochs * data.stream.steps_per_epoch <= 810
    assert (recipe.preset, recipe.batch, recipe.width) == ("demo", 32, 0.25)
    assert recipe.warmup_steps == 240
