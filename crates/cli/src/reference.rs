//! `docs/reference/cli.md`, made of the same tree that reads the arguments; `cargo xtask reference` asks for it.
//!
//! What many verbs take (the hub, colours) is said once. What `serve` takes has a page of its own.

use std::collections::BTreeMap;

use clap::{Arg, Command};

use crate::failure::Failure;

/// Headings whose options are the same wherever they stand, with their place on the page.
const SHARED: [(&str, &str); 2] = [("Hub", "Options of the hub"), ("Global", "Global options")];

/// Verbs that another page describes.
const ELSEWHERE: [(&str, &str); 1] = [("fanfare serve", "config.md")];

const HEAD: &str = "# Command line

Every verb of `fanfare` with what it takes. `fanfare VERB --help` says the same in a terminal, `fanfare man` makes manual pages of
it, `fanfare completions` teaches it to a shell.

Made from `crates/cli` by `cargo xtask reference`.
";

/// Prints the page.
///
/// # Errors
/// When standard output is closed.
pub(crate) fn run() -> Result<(), Failure> {
    crate::output::line(page(crate::command()).trim_end())
}

/// The whole page.
fn page(mut command: Command) -> String {
    command.build();
    let mut page = HEAD.to_owned();
    if let Some(codes) = command.get_after_help() {
        page.push_str(&block(&codes.to_string()));
    }
    let mut shared = BTreeMap::new();
    collect_shared(&command, &mut shared);
    for (heading, title) in SHARED {
        let Some(options) = shared.get(heading) else {
            continue;
        };
        page.push_str(&format!("\n## {title}\n\n{}", table(options)));
    }
    for verb in shown(&command) {
        write_verb(&mut page, verb, "fanfare", "##");
    }
    page
}

/// The first verb that takes the options of a heading stands for all.
fn collect_shared<'a>(command: &'a Command, shared: &mut BTreeMap<&'a str, Vec<&'a Arg>>) {
    for (heading, _) in SHARED {
        let options: Vec<_> = arguments(command)
            .filter(|argument| argument.get_help_heading() == Some(heading))
            .collect();
        if !options.is_empty() {
            shared.entry(heading).or_insert(options);
        }
    }
    for verb in shown(command) {
        collect_shared(verb, shared);
    }
}

fn write_verb(page: &mut String, verb: &Command, parent: &str, level: &str) {
    let name = format!("{parent} {}", verb.get_name());
    page.push_str(&format!("\n{level} {name}\n"));
    let about = verb.get_long_about().or(verb.get_about());
    if let Some(about) = about {
        page.push_str(&format!("\n{}\n", sentence(&about.to_string())));
    }
    let elsewhere = ELSEWHERE.iter().find(|(verb, _)| *verb == name);
    if let Some((_, page_of_it)) = elsewhere {
        page.push_str(&format!(
            "\nWhat it takes is in [its own page]({page_of_it}).\n"
        ));
    } else if !verb.has_subcommands() {
        let usage = verb.clone().render_usage().to_string();
        page.push_str(&block(usage.trim_start_matches("Usage: ")));
        write_arguments(page, verb);
        let examples = verb.get_after_long_help().or(verb.get_after_help());
        if let Some(examples) = examples {
            page.push_str(&block(&examples.to_string()));
        }
    }
    for verb in shown(verb) {
        write_verb(page, verb, &name, &format!("{level}#"));
    }
}

fn write_arguments(page: &mut String, verb: &Command) {
    let is_own = |argument: &&Arg| {
        !SHARED
            .iter()
            .any(|(heading, _)| is_under(argument, heading))
    };
    let own: Vec<_> = arguments(verb).filter(is_own).collect();
    if !own.is_empty() {
        page.push('\n');
        page.push_str(&table(&own));
    }
    let (heading, title) = SHARED[0];
    if arguments(verb).any(|argument| is_under(argument, heading)) {
        let place = title.to_lowercase().replace(' ', "-");
        page.push_str(&format!(
            "\nAnd the [{}](#{place}).\n",
            title.to_lowercase()
        ));
    }
}

fn is_under(argument: &Arg, heading: &str) -> bool {
    argument.get_help_heading() == Some(heading)
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command
        .get_subcommands()
        .filter(|verb| !verb.is_hide_set() && verb.get_name() != "help")
}

/// What a verb takes, without what every program takes.
fn arguments(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|argument| {
        !argument.is_hide_set() && !["help", "version"].contains(&argument.get_id().as_str())
    })
}

fn table(arguments: &[&Arg]) -> String {
    let rows = arguments.iter().map(|argument| row(argument));
    format!(
        "| argument | meaning |\n|---|---|\n{}",
        rows.collect::<String>()
    )
}

fn row(argument: &Arg) -> String {
    let help = argument.get_long_help().or(argument.get_help());
    let mut meaning = sentence(&help.map(ToString::to_string).unwrap_or_default());
    let values: Vec<_> = argument
        .get_possible_values()
        .iter()
        .filter(|value| !value.is_hide_set())
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    if argument.get_action().takes_values() {
        if !values.is_empty() && !argument.is_hide_possible_values_set() {
            meaning.push_str(&format!(" One of {}.", values.join(", ")));
        }
        let defaults = argument.get_default_values().iter();
        let defaults: Vec<_> = defaults.map(|value| value.to_string_lossy()).collect();
        if !defaults.is_empty() && !argument.is_hide_default_value_set() {
            meaning.push_str(&format!(" Default: `{}`.", defaults.join(" ")));
        }
    }
    if let Some(variable) = argument.get_env() {
        meaning.push_str(&format!(" Environment: `{}`.", variable.to_string_lossy()));
    }
    format!("| `{}` | {} |\n", cell(&spelling(argument)), cell(&meaning))
}

/// `-o, --output <FORMAT>`, or `<ID>...`.
fn spelling(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    let names: Vec<_> = names.iter().map(|name| format!("<{name}>")).collect();
    let names = names.join(" ");
    if argument.is_positional() {
        let more = match argument.get_num_args() {
            Some(range) if range.max_values() > 1 => "...",
            _ => "",
        };
        return match argument.is_required_set() {
            true => format!("{names}{more}"),
            false => format!("[{}]{more}", names.trim_matches(['<', '>'])),
        };
    }
    let short = argument.get_short().map(|short| format!("-{short}"));
    let long = argument.get_long().map(|long| format!("--{long}"));
    let flags: Vec<_> = short.into_iter().chain(long).collect();
    let flags = flags.join(", ");
    match argument.get_action().takes_values() && !names.is_empty() {
        true => format!("{flags} {names}"),
        false => flags,
    }
}

/// On one line, with a full stop.
fn sentence(text: &str) -> String {
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if !line.is_empty() && !line.ends_with(['.', ':']) {
        line.push('.');
    }
    line
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn block(text: &str) -> String {
    format!("\n```text\n{}\n```\n", text.trim())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn the_page_says_what_the_verbs_take() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/cli.md");
        let page = std::fs::read_to_string(path).unwrap_or_default();
        let made = super::page(crate::command());
        assert!(
            page.trim_end() == made.trim_end(),
            "docs/reference/cli.md is not what the verbs say: run cargo xtask reference"
        );
    }

    #[test]
    fn hidden_verbs_stay_out_and_shared_options_are_said_once() {
        let made = super::page(crate::command());
        assert!(!made.contains("fanfare bench"), "{made}");
        assert_eq!(
            made.matches("--connection-string-file <FILE>` |").count(),
            1
        );
        assert!(made.contains("\n### fanfare job cancel\n"), "{made}");
    }
}
