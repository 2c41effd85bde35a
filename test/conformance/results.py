"""Judge a Tempest run against the committed lists.

results.py exclude SKIPS.TXT          the regular expressions of what is not run at all
results.py judge SUITE DIR SECONDS    read DIR/SUITE.subunit and DIR/{skips,expected-failures}.txt, write DIR/SUITE.*.txt, print totals

A line of expected-failures.txt is `NAME  # reason`, of skips.txt `out NAME  # reason` (not run) or `skip NAME  # reason` (Tempest skips
it by itself) or `why TEXT  # reason` (Tempest skips it and says a TEXT, in any case of letters). NAME is a test, or a class, module or
package that stands for all tests in it.
"""
import re
import sys


def read_list(path):
    entries = {}
    with open(path) as f:
        for number, line in enumerate(f, 1):
            text, _, reason = line.partition("#")
            text = text.strip()
            if not text:
                continue
            if not reason.strip():
                sys.exit("%s:%d: %s has no reason" % (path, number, text))
            entries[text] = reason.strip()
    return entries


def read_skips(path):
    lists = {"out": {}, "skip": {}, "why": {}}
    for text, reason in read_list(path).items():
        kind, _, name = text.partition(" ")
        if kind not in lists or not name.strip():
            sys.exit("%s: %r is not `out NAME`, `skip NAME` or `why TEXT`" % (path, text))
        lists[kind][name.strip()] = reason
    return lists["out"], lists["skip"], lists["why"]


def find(entries, name):
    """The entry that stands for a test: its own, or that of its class, module or package."""
    while name:
        if name in entries:
            return name
        name = name.rpartition(".")[0]
    return None


def plain(test_id):
    """The name without the attributes; a class's set-up counts as the class."""
    m = re.match(r"(?:setUpClass|tearDownClass) \((.*)\)$", test_id)
    return m.group(1) if m else test_id.partition("[")[0]


def read_subunit(path):
    """Names by outcome, each with its reason or the last line of its traceback."""
    import subunit
    import testtools
    seen = {"success": {}, "fail": {}, "skip": {}}

    def note(test):
        status = {"xfail": "success", "uxsuccess": "fail", "inprogress": "fail"}.get(test["status"], test["status"])
        if status not in seen:
            return
        details = test["details"]
        why = "did not end" if test["status"] == "inprogress" else ""
        for key in ("reason", "traceback"):
            text = details[key].as_text().strip() if key in details else ""
            if text:
                why = text.splitlines()[-1]
        seen[status][plain(test["id"])] = why

    result = testtools.StreamToDict(note)
    result.startTestRun()
    with open(path, "rb") as f:
        subunit.ByteStreamToStreamResult(f, non_subunit_name="text").run(result)
    result.stopTestRun()
    return seen["success"], seen["fail"], seen["skip"]


def judge(suite, folder, seconds):
    passed, failed, skipped = read_subunit("%s/%s.subunit" % (folder, suite))
    expected = read_list(folder + "/expected-failures.txt")
    out, skips, texts = read_skips(folder + "/skips.txt")
    for kind, names in (("passed", passed), ("failed", failed), ("skipped", skipped)):
        with open("%s/%s.%s.txt" % (folder, suite, kind), "w") as f:
            for name, why in sorted(names.items()):
                f.write(name + ("\t" + why if why else "") + "\n")
    news = sorted(n for n in failed if not find(expected, n))
    # Only a test's own line says that it fails; a line for a class says that some of its tests do.
    mended = sorted(n for n in passed if n in expected)
    unexplained = sorted(n for n, why in skipped.items() if not find(skips, n) and not find(out, n)
                         and not any(text.lower() in why.lower() for text in texts))
    print("%s: passed %d, failed %d (%d expected), skipped %d, %s s" % (
        suite, len(passed), len(failed), len(failed) - len(news), len(skipped), seconds))
    for title, names, why in (("failed", news, failed), ("passes now; remove it from expected-failures.txt", mended, {}),
                              ("skipped, and skips.txt does not say why", unexplained, skipped)):
        for name in names:
            print("  %s: %s%s" % (title, name, " (" + why[name] + ")" if why.get(name) else ""))
    if not passed:
        print("  no test passed; see %s/%s.err" % (folder, suite))
    return 1 if news or mended or unexplained or not passed else 0


def exclude(path):
    out, _, _ = read_skips(path)
    for name in out:
        print("^" + re.escape(name) + r"(\.|\[|$)")
    return 0


if __name__ == "__main__":
    sys.exit({"judge": judge, "exclude": exclude}[sys.argv[1]](*sys.argv[2:]))
