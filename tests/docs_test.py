"""The pages: links lead somewhere, here and on the site; citation, changelog and pins agree with the project."""

import importlib.util
import re
import runpy
import subprocess
import sys
import tomllib

import pytest
import yaml

from common.options import PROJECT

spec = importlib.util.spec_from_file_location("pages", PROJECT / "docs" / "pages.py")
site = importlib.util.module_from_spec(spec)
spec.loader.exec_module(site)

PROJECT_FILE = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))


def read(name):
    return (PROJECT / name).read_text("utf-8")


def pins(name):
    return dict(re.findall(r"^([\w.-]+)==(\S+)", read(name), re.MULTILINE))


@pytest.mark.parametrize("page", site.pages())
def test_every_link_of_a_page_leads_to_a_file_or_folder(page):
    missing = [path for path in site.links(page) if not (PROJECT / path).exists()]
    assert not missing


def test_links_become_pages_of_the_site_but_for_those_in_code():
    text = "[a](model.py) ![b](p.png) [c](https://x.org) [d](#e) [f](../data/README.md#g)\n```\n[h](i.py)\n```\n"
    seen = []
    assert site.rewritten(text, lambda target: seen.append(target) or target.upper()) == (
        "[a](MODEL.PY) ![b](P.PNG) [c](https://x.org) [d](#e) [f](../DATA/README.MD#g)\n```\n[h](i.py)\n```\n"
    )
    assert seen == ["model.py", "p.png", "../data/README.md"]
    for path, page in (
        ("seer/model.py", "seer/model.md"),
        ("seer/README.md", "seer/README.md"),
        ("seer", "seer/README.md"),
        ("seer/building", "seer/building/index.md"),
        ("benchmarks/results/lstm.json", "benchmarks/results/lstm.json"),
        ("Makefile", "Makefile.md"),
    ):
        assert site.page_of(path) == page


def test_the_reference_has_every_module_with_a_sentence_on_it():
    listed = [module for package in site.packages() for module in site.modules(package)]
    assert {"common/metrics", "seer/building", "seer/building/from_midi", "dtnmr/model"} <= set(listed)
    assert not [module for module in listed if module.endswith("_test") or not site.summary(module)]


def test_the_site_has_every_paper_and_names_pages_that_exist():
    papers = site.packages()[1:]
    assert set(papers) == {path.parent.name for path in PROJECT.glob("*/train.py")} - {"template"}
    named = re.findall(r"[\w./]+\.md\b", read("mkdocs.yml").split("theme:")[0])
    assert {f"{paper}/README.md" for paper in papers} <= set(named)
    assert all((PROJECT / name).is_file() for name in named)


def test_citation_and_changelog_are_of_this_version_and_of_all_papers():
    version, citation = PROJECT_FILE["project"]["version"], read("CITATION.cff")
    assert f"\nversion: {version}\n" in citation and f"\n## {version}" in read("CHANGELOG.md")
    assert f"\nlicense: {PROJECT_FILE['project']['license']}\n" in citation
    for paper in site.packages()[1:]:
        title = re.search(r"\*(.+?)\*", read(f"{paper}/README.md").replace("\n> ", " "))[1]
        assert f"\n    title: {title}\n" in citation, title


def test_citations_of_the_pages_and_of_the_file_agree():
    """Authors in their order, titles, years, and identifiers."""
    heads = {paper: citation_of(read(f"{paper}/README.md")) for paper in site.packages()[1:]}
    overview = read("README.md")
    for reference in yaml.safe_load(read("CITATION.cff"))["references"]:
        title, authors = reference["title"], reference["authors"]
        names = [author["family-names"] for author in authors]
        in_full = [f"{author['given-names']} {author['family-names']}" for author in authors]
        (head,) = (head for head in heads.values() if f"*{title}*" in head)
        before, after = head.split(f"*{title}*")
        cited = re.split(r"\. |version: ", before.removesuffix(": "))[-1].split(", ")
        assert cited in (names, in_full), cited
        assert str(reference["year"]) in after[:150] and "*" not in after[: after.index(str(reference["year"]))], title
        urls = [f"https://doi.org/{reference['doi']}"] if "doi" in reference else []
        urls += [entry["value"] for entry in reference.get("identifiers", [])]
        assert not urls or any(url in after for url in urls), title
        if (row := re.search(rf"\| ([^|]+): \*{re.escape(title)}\*([^|]+)\|", overview)) is not None:
            assert row[1].split(", ") == names or row[1] == f"{names[0]} et al.", row[1]
            assert str(reference["year"]) in row[2] and all(url in urls for url in re.findall(r"https[^)]+", row[2]))
    assert all(f"*{re.search(r'[*](.+?)[*]', head)[1]}*" in overview for head in heads.values())


def citation_of(page: str) -> str:
    """The paragraph below the title of a paper's page that cites it."""
    return page.split("\n> ", 1)[1].split("\n\n")[0].replace("\n> ", " ")


def test_the_site_can_be_built_beside_everything_else():
    docs, others = pins("requirements-docs.txt"), pins("requirements.txt") | pins("requirements-dev.txt")
    assert {"mkdocs", "mkdocs-material", "mkdocstrings"} <= docs.keys() and "tensorflow" not in docs
    assert all(others.get(name, version) == version for name, version in docs.items())


def test_the_golden_data_stay_small():
    assert sum(path.stat().st_size for path in (PROJECT / "tests/golden").rglob("*") if path.is_file()) < 12 * 2**20


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_needs_nothing_from_elsewhere(tmp_path):
    pytest.importorskip("mkdocs", reason="make docs installs it")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    page = (tmp_path / "seer" / "index.html").read_text("utf-8")
    assert 'href="model.html"' in page and (tmp_path / "seer" / "model.html").is_file()
    fetched = re.compile(r"""<(?:script|img|link rel="(?:stylesheet|preconnect)")[^>]+(?:src|href)="https?:""")
    assert not [path for path in tmp_path.rglob("*.html") if fetched.search(path.read_text("utf-8"))]


@pytest.mark.parametrize("name", ["sessions", "songs"])
def test_the_page_on_python_shows_the_script(name):
    script = read(f"docs/{name}.py").split("# [the page begins]\n")[1].split("# [the page ends]")[0].strip()
    assert f"```python\n{script}\n```" in read("docs/python.md")


def test_the_script_on_sessions_runs_and_recommends_what_comes_next(capsys):
    found = runpy.run_path(str(PROJECT / "docs" / "sessions.py"))
    best = found["best"]
    first = best[best["rank"] == 1]["item"].tolist()
    assert first == ["album 0, track 2", "album 3, track 1"]
    assert found["found"].metrics["recall@20"] > found["found"].baselines["most popular"]["recall@20"]
    assert "recall@20" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "page"), [("listeners", "dtnmr"), ("unheard", "audiotext")])
def test_the_page_of_a_paper_shows_its_script(name, page):
    script = read(f"docs/{name}.py").split("# [the page begins]\n")[1].split("# [the page ends]")[0].strip()
    assert f"```python\n{script}\n```" in read(f"{page}/README.md")


@pytest.mark.slow
def test_the_script_on_listeners_recommends_by_taste(capsys):
    found = runpy.run_path(str(PROJECT / "docs" / "listeners.py"))
    genres = found["songs"].set_index("song")["genre"]
    best = found["best"].assign(genre=found["best"]["item"].map(genres))
    for user, genre in (("user 0", "jazz"), ("user 1", "metal")):
        assert (best[best["user"] == user]["genre"] == genre).all()
    assert found["found"].metrics["map"] > found["found"].baselines["popularity"]["map"] + 0.1
    fresh = found["for_a_newcomer"].set_index("item")
    assert fresh.loc["fresh", "rank"] <= 17 and "song 2" not in fresh.index  # one of twenty of its genre
    assert found["again"].equals(found["best"])
    assert "less that of the best baseline" in capsys.readouterr().out


@pytest.mark.slow
def test_the_script_on_songs_recommends_by_their_sound_and_explains(capsys):
    found = runpy.run_path(str(PROJECT / "docs" / "songs.py"))
    best = found["best"].groupby("user")["item"].apply(list)
    assert all(song.startswith("piano") for song in best["user 0"] + found["new"]["item"].tolist())
    assert all(song.startswith("drums") for song in best["user 1"])
    assert found["found"].metrics["rmse"] < found["found"].baselines["mean of all ratings"]["rmse"]
    assert "most of all its seconds" in capsys.readouterr().out
    assert all((found["folder"] / name).stat().st_size > 1000 for name in ("why.png", "why.wav"))


def test_the_page_of_session_transformers_shows_its_script():
    script = read("docs/skips.py").split("# [the page begins]\n")[1].split("# [the page ends]")[0].strip()
    assert f"```python\n{script}\n```" in read("session_transformers/README.md")


@pytest.mark.slow
def test_the_script_on_skips_continues_sessions_and_foretells_skips(capsys):
    found = runpy.run_path(str(PROJECT / "docs" / "skips.py"))
    assert found["continued"]["item"].tolist()[:2] == ["album 2, track 4", "album 2, track 5"]
    assert found["foretold"]["skipped"].tolist() == [True, False, False]
    assert "accuracy" in capsys.readouterr().out


@pytest.mark.slow
def test_the_script_on_unheard_artists_recommends_them_by_their_tags(capsys):
    found = runpy.run_path(str(PROJECT / "docs" / "unheard.py"))
    best = found["best"]
    for user, kind in (("user 0", 0), ("user 1", 1)):
        numbers = [int(name.split()[1]) for name in best[best["user"] == user]["item"]]
        assert min(numbers) >= 60 and all(number % 3 == kind for number in numbers)
    assert found["found"].metrics["map@10"] > found["found"].baselines["random"]["map@10"] + 0.2
    assert all(int(user.split()[1]) % 3 == 2 for user in found["listeners"]["user"])  # who love folk
    assert "less that of the best baseline" in capsys.readouterr().out
