//! Members of a line in another letter case: `Tags`, `PrimaryKey`, `ETag`.
//!
//! Other programs read the form with no regard for case, and so others write it. A member that is passed over for
//! its case would be a tag, a status or a key lost without a word. Names keep their length, so that the places of
//! faults stay right. What is inside tags and properties is the user's, and left alone.

/// The members of an object whose names are the contract's.
struct Shape(&'static [(&'static str, Option<&'static Shape>)]);

static LINE: Shape = Shape(&[
    ("id", None),
    ("moduleId", None),
    ("eTag", None),
    // Read as well, and so no other spelling of the one above.
    ("etag", None),
    ("importMode", None),
    ("status", None),
    ("statusReason", None),
    ("authentication", Some(&AUTHENTICATION)),
    ("twinETag", None),
    ("tags", None),
    ("properties", Some(&PROPERTIES)),
    ("capabilities", Some(&CAPABILITIES)),
    ("managedBy", None),
    ("deviceScope", None),
    ("parentScopes", None),
]);
static AUTHENTICATION: Shape = Shape(&[
    ("type", None),
    ("symmetricKey", Some(&KEYS)),
    ("x509Thumbprint", Some(&PRINTS)),
]);
static KEYS: Shape = Shape(&[("primaryKey", None), ("secondaryKey", None)]);
static PRINTS: Shape = Shape(&[("primaryThumbprint", None), ("secondaryThumbprint", None)]);
static PROPERTIES: Shape = Shape(&[("desired", None), ("reported", None)]);
static CAPABILITIES: Shape = Shape(&[("iotEdge", None)]);

/// Writes the names of the contract as the contract does. What is no JSON stays no JSON.
pub(super) fn spell(text: &mut [u8]) {
    let mut open: Vec<Option<&'static Shape>> = Vec::new();
    let mut below = Some(&LINE);
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'{' | b'[' => {
                let is_object = text[at] == b'{';
                open.push(below.take().filter(|_| is_object));
            }
            b'}' | b']' => {
                open.pop();
            }
            b'"' => {
                let end = end_of_string(text, at);
                let is_name = text[end..].iter().find(|byte| !byte.is_ascii_whitespace());
                if is_name == Some(&b':') {
                    let shape = open.last().copied().flatten();
                    below = shape.and_then(|shape| shape.spell(&mut text[at + 1..end - 1]));
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
}

impl Shape {
    /// Spells one name and says what is below it.
    fn spell(&self, name: &mut [u8]) -> Option<&'static Shape> {
        let exactly = |known: &&(&'static str, _)| known.0.as_bytes() == name;
        let nearly = |known: &&(&'static str, _)| known.0.as_bytes().eq_ignore_ascii_case(name);
        let mut all = self.0.iter();
        let (known, below) = self.0.iter().find(exactly).or_else(|| all.find(nearly))?;
        name.copy_from_slice(known.as_bytes());
        *below
    }
}

/// Where the string that begins at `from` ends: behind its closing quote, or with the text.
fn end_of_string(text: &[u8], from: usize) -> usize {
    let mut at = from + 1;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(text: &str) -> String {
        let mut text = text.as_bytes().to_vec();
        spell(&mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn names_of_the_contract_get_its_case_and_no_others() {
        for (line, want) in [
            (
                r#"{"Id":"d","ETag":"a","Tags":{"Tags":1,"Status":[{"ID":1}]},"STATUS":"Disabled"}"#,
                r#"{"id":"d","eTag":"a","tags":{"Tags":1,"Status":[{"ID":1}]},"status":"Disabled"}"#,
            ),
            (
                r#"{"Authentication" : {"SymmetricKey":{"PrimaryKey":"Id","secondaryKEY":null},"X509THUMBPRINT":{"PrimaryThumbprint":"A"}}}"#,
                r#"{"authentication" : {"symmetricKey":{"primaryKey":"Id","secondaryKey":null},"x509Thumbprint":{"primaryThumbprint":"A"}}}"#,
            ),
            (
                r#"{"Properties":{"Desired":{"Id":{"Desired":1}}},"Capabilities":{"IotEdge":true},"TwinEtag":"x"}"#,
                r#"{"properties":{"desired":{"Id":{"Desired":1}}},"capabilities":{"iotEdge":true},"twinETag":"x"}"#,
            ),
            // Both spellings are read; an escaped quote ends nothing; a value is no name.
            (
                r#"{"etag":"a","eTag":"b","Note\":{\"Id\":":"Id","x":"Tags","Id":"\\"}"#,
                r#"{"etag":"a","eTag":"b","Note\":{\"Id\":":"Id","x":"Tags","id":"\\"}"#,
            ),
            // A list is no line, and a scalar takes no shape to the next object.
            (r#"[{"Id":1}]"#, r#"[{"Id":1}]"#),
            (
                r#"{"authentication":null,"x":{"Type":1}}"#,
                r#"{"authentication":null,"x":{"Type":1}}"#,
            ),
        ] {
            assert_eq!(spelled(line), want);
        }
    }

    #[test]
    fn what_is_no_json_is_gone_through_to_its_end() {
        for text in [
            "",
            "\"",
            "\"\\",
            "{\"",
            "{\"Id",
            "{\"Id\"",
            "}}]",
            "{\"a\\\"",
            "\u{e4}{\"",
        ] {
            assert_eq!(spelled(text), text);
        }
    }
}
