use std::borrow::Cow;

/// The text in lower case, on the stack unless it is long.
pub(crate) fn lowered<'t>(text: &'t str, buffer: &'t mut [u8; 256]) -> Cow<'t, str> {
    if !text.bytes().any(|b| b.is_ascii_uppercase()) {
        return Cow::Borrowed(text);
    }
    if let Some(buffer) = buffer.get_mut(..text.len()) {
        buffer.copy_from_slice(text.as_bytes());
        buffer.make_ascii_lowercase();
        if let Ok(lower) = std::str::from_utf8(buffer) {
            return Cow::Borrowed(lower);
        }
    }
    Cow::Owned(text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_texts_are_lowered_without_an_allocation() {
        for (text, borrowed) in
            [("abc", true), ("ABÖc", true), ("", true), (&"A".repeat(256), true), (&"A".repeat(257), false)]
        {
            let mut buffer = [0; 256];
            let lower = lowered(text, &mut buffer);
            assert_eq!(*lower, *text.to_ascii_lowercase());
            assert_eq!(matches!(lower, Cow::Borrowed(_)), borrowed, "{text}");
        }
    }
}
