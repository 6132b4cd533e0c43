//! Values that may be long: written out, in a file (`@file`), or from standard input (`-`).

use std::convert::Infallible;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde_json::{Map, Value};

use crate::failure::Failure;

/// Where a value comes from. As the type of a clap argument it takes any text; [`Self::json`] reads it.
///
/// ```
/// use fanfare_cli::value_arg::ValueArg;
///
/// let payload: ValueArg = r#"{"force":true}"#.parse().unwrap();
/// assert_eq!(payload.json("--payload").unwrap()["force"], true);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueArg {
    /// The argument is the value.
    Text(String),
    /// `@FILE`.
    File(PathBuf),
    /// `-`.
    Stdin,
}

impl FromStr for ValueArg {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.strip_prefix('@') {
            Some(path) => Self::File(PathBuf::from(path)),
            None if text == "-" => Self::Stdin,
            None => Self::Text(text.to_owned()),
        })
    }
}

impl ValueArg {
    /// The text as it is. `flag` names the argument in errors: "--payload".
    ///
    /// # Errors
    /// When the file or standard input cannot be read, or is not UTF-8.
    pub fn text(&self, flag: &str) -> Result<String, Failure> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File(path) => read_file(path).map_err(|failure| {
                let title = format!("{flag}: {failure}");
                failure.retitled(title)
            }),
            Self::Stdin => read_stdin(),
        }
    }

    /// The value as JSON.
    ///
    /// # Errors
    /// As [`Self::text`], and with the place in the text when it is not JSON.
    pub fn json(&self, flag: &str) -> Result<Value, Failure> {
        let text = self.text(flag)?;
        let error = match serde_json::from_str(&text) {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        if text.trim().is_empty() {
            let name = self.name(flag);
            return Err(Failure::usage(format!("{name} is empty, not JSON"))
                .try_this("null, or {} for an object without members"));
        }
        let failure = Failure::usage(format!("{flag} is not JSON: {}", without_place(&error)));
        let failure = failure.at(self.name(flag), &*text, error.line(), error.column());
        Err(match self {
            Self::Text(text) => advice(failure, text),
            _ => failure,
        })
    }

    /// The value as a JSON object, which twins and patches are.
    ///
    /// # Errors
    /// As [`Self::json`], and when it is JSON of another kind.
    pub fn object(&self, flag: &str) -> Result<Map<String, Value>, Failure> {
        match self.json(flag)? {
            Value::Object(members) => Ok(members),
            other => Err(Failure::usage(format!(
                "{flag} is {}; it has to be an object such as {{\"floor\": 3}}",
                kind(&other)
            ))),
        }
    }

    fn name(&self, flag: &str) -> String {
        match self {
            Self::Text(_) => flag.to_owned(),
            Self::File(path) => path.display().to_string(),
            Self::Stdin => "standard input".to_owned(),
        }
    }
}

/// Reads a file that an argument names.
///
/// # Errors
/// [`crate::failure::Exit::Usage`] when it cannot be read or is not UTF-8.
pub fn read_file(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| {
        Failure::usage(format!("{} cannot be read", path.display())).because(error)
    })
}

/// Reads standard input to its end.
///
/// # Errors
/// When it cannot be read or is not UTF-8.
pub fn read_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    match std::io::stdin().read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(error) => Err(Failure::usage("standard input cannot be read").because(error)),
    }
}

/// serde_json's words without "at line L column C", which is drawn.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    text[..end].to_owned()
}

/// What people do wrong with JSON on a command line.
fn advice(failure: Failure, text: &str) -> Failure {
    let looks_like_path = text.ends_with(".json") || Path::new(text).is_file();
    if looks_like_path {
        return failure.try_this(format!("@{text} to read the file"));
    }
    if text.contains('\'') {
        return failure.try_this("JSON has double quotes inside: '{\"floor\": 3}'");
    }
    if !text.contains('"') && text.contains([':', '{', '[']) {
        return failure.try_this(
            "the shell took the double quotes: put the whole value in single quotes, '{\"floor\": 3}'",
        );
    }
    let is_word = text
        .chars()
        .all(|c| c.is_alphanumeric() || "-_. ".contains(c));
    if is_word && !text.is_empty() {
        return failure.try_this(format!("'\"{text}\"' if you mean that text"));
    }
    failure
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let value: ValueArg = text.parse().unwrap();
        crate::diagnostic::plain(&value.json("--payload").unwrap_err())
    }

    #[test]
    fn a_value_is_text_a_file_or_standard_input() {
        let parse = |text: &str| text.parse::<ValueArg>().unwrap();
        assert_eq!(parse("@a/b.json"), ValueArg::File("a/b.json".into()));
        assert_eq!(parse("-"), ValueArg::Stdin);
        assert_eq!(parse("-1"), ValueArg::Text("-1".to_owned()));
        assert_eq!(parse("7").json("--payload").unwrap(), 7);
    }

    #[test]
    fn a_file_is_read_and_one_that_is_not_there_is_named_with_its_flag() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.json");
        std::fs::write(&path, "{\"a\":1}").unwrap();
        assert_eq!(ValueArg::File(path).json("--payload").unwrap()["a"], 1);
        let absent = ValueArg::File(folder.path().join("absent.json"));
        let said = absent.json("--payload").unwrap_err().to_string();
        assert!(said.starts_with("--payload: "), "{said}");
        assert!(said.ends_with("absent.json cannot be read"), "{said}");
    }

    #[test]
    fn what_people_do_wrong_with_json_gets_advice() {
        for (text, advice) in [
            ("{floor: 3}", "single quotes"),
            ("{'floor': 3}", "double quotes inside"),
            ("hello", "'\"hello\"'"),
            ("patch.json", "@patch.json"),
        ] {
            let said = refused(text);
            assert!(said.contains(advice), "{said}");
        }
    }

    #[test]
    fn the_place_of_a_fault_is_drawn() {
        let said = refused("{\"a\": 1,\n \"b\" 2}");
        assert!(said.contains("2 |  \"b\" 2}\n"), "{said}");
        assert!(said.contains("  |      ^"), "{said}");
    }

    #[test]
    fn an_object_is_asked_for_where_one_is_needed() {
        let list: ValueArg = "[1]".parse().unwrap();
        let said = list.object("--tags").unwrap_err().to_string();
        assert!(said.starts_with("--tags is an array"), "{said}");
    }
}
