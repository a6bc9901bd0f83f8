use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

/// The most memory one compiled expression may take, in bytes.
const SIZE: usize = 256 << 10;
/// The most memory the expressions of one set may take together.
const SET_SIZE: usize = 8 << 20;

/// An expression anchored at both ends, as values and paths are matched: in time linear in their length, byte by
/// byte (`\w` and `(?i)` know ASCII only).
pub(crate) fn anchored(text: &str, ignore_case: bool) -> Result<Regex, String> {
    let compile = |text: &str| {
        RegexBuilder::new(text).unicode(false).case_insensitive(ignore_case).size_limit(SIZE).build()
    };
    // By itself first, so that no parenthesis of it closes the one of the anchors.
    compile(text).and_then(|_| compile(&wrapped(text))).map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => format!("it would take more than {} KiB compiled", SIZE >> 10),
        // The last line says what is wrong, those before draw where.
        error => {
            error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
        }
    })
}

fn wrapped(text: &str) -> String {
    format!(r"\A(?:{text})\z")
}

/// Expressions looked for together; `None` if they are too many for one set. Each is a text and whether case
/// makes no difference.
pub(crate) fn set<'a>(expressions: impl Iterator<Item = (&'a str, bool)>) -> Option<RegexSet> {
    let flagged =
        expressions.map(
            |(text, ignore_case)| {
                if ignore_case { format!("(?i:{})", wrapped(text)) } else { wrapped(text) }
            },
        );
    RegexSetBuilder::new(flagged).unicode(false).size_limit(SET_SIZE).build().ok()
}
