//! Decides whether the documentation points at things that are there, on any machine.

use super::Finding;
use super::tree::Tree;

/// Folders of whoever wrote a page, which mean nothing to its reader.
const MACHINE_PATHS: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/tm", "p/"),
    concat!("../sha", "red"),
];

/// Relative links and anchors resolve.
pub(super) fn links_resolve(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.with_extension("md") {
        for (line, link) in links(text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => Some(path.to_owned()),
                file => joined(path, file).filter(|target| tree.contains(target)),
            };
            let Some(target) = target else {
                let text = format!("the link {link} leads nowhere");
                findings.push(Finding::error("links", path, line, text));
                continue;
            };
            let page = tree.text(&target).filter(|_| target.ends_with(".md"));
            if !anchor.is_empty()
                && page.is_some_and(|page| !anchors(page).any(|one| one == anchor))
            {
                let text = format!("{target} has no heading #{anchor}");
                findings.push(Finding::error("links", path, line, text));
            }
        }
    }
    findings
}

/// No folder of one machine in a page, and in code none but what every machine has.
pub(super) fn no_paths_of_one_machine(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.files() {
        for (at, line) in text.lines().enumerate() {
            let named = MACHINE_PATHS.iter().find(|machine_path| {
                // A unit test may well speak of the folder for temporary files.
                line.contains(**machine_path)
                    && (path.ends_with(".md") || **machine_path != MACHINE_PATHS[2])
            });
            if let Some(named) = named {
                let text = format!("names {named}, a path of one machine");
                findings.push(Finding::error("machine paths", path, at + 1, text));
            }
        }
    }
    findings
}

/// Targets of `[text](target)` with their lines, code left out.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (line, text) in prose(text) {
        // Odd pieces between backticks are code.
        let prose: String = text.split('`').step_by(2).collect::<Vec<_>>().join("`");
        for (at, _) in prose.match_indices("](") {
            let target = prose[at + 2..].split([')', ' ']).next().unwrap_or_default();
            found.push((line, target.trim_matches(['<', '>']).to_owned()));
        }
    }
    found
}

/// Lines outside fenced code, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_fence = false;
    text.lines().enumerate().filter_map(move |(at, line)| {
        let is_fence = line.trim_start().starts_with("```");
        in_fence ^= is_fence;
        (!in_fence && !is_fence).then_some((at + 1, line))
    })
}

/// The anchors that renderers make of headings: lower case, spaces to hyphens, punctuation dropped.
fn anchors(page: &str) -> impl Iterator<Item = String> {
    prose(page)
        .filter(|(_, line)| line.starts_with('#'))
        .map(|(_, line)| {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            let kept = heading
                .chars()
                .filter(|one| one.is_alphanumeric() || " -_".contains(*one));
            kept.map(|one| if one == ' ' { '-' } else { one }).collect()
        })
}

/// `link` as seen from the page at `path`, from the root; None when it climbs out of the tree.
fn joined(path: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let page = "[a](b.md) [c](../README.md#two-words) [d](gone.md)\n```\n[e](code.md)\n```\n`[f](code.md)` [g](https://example.com/x) [h](../../out.md) [i](b.md#gone) [j](#own)\n# Own";
        let tree = Tree::of(&[
            ("docs/a.md", page),
            ("docs/b.md", "# B"),
            ("README.md", "## Two words!"),
        ]);
        let found: Vec<(usize, String)> = links_resolve(&tree)
            .into_iter()
            .map(|one| (one.line, one.text))
            .collect();
        assert_eq!(
            found,
            [
                (1, "the link gone.md leads nowhere".to_owned()),
                (5, "the link ../../out.md leads nowhere".to_owned()),
                (5, "docs/b.md has no heading #gone".to_owned()),
            ]
        );
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        let home = concat!("see /ro", "ot/notes");
        let scratch = concat!("let path = \"/tm", "p/x\";");
        let tree = Tree::of(&[
            ("a.md", home),
            ("b.rs", scratch),
            ("c.md", scratch),
            ("d.rs", "a/b"),
        ]);
        let found: Vec<String> = no_paths_of_one_machine(&tree)
            .into_iter()
            .map(|one| one.path)
            .collect();
        assert_eq!(found, ["a.md", "c.md"]);
    }
}
