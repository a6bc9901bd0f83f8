pub(crate) mod base;
pub(crate) mod body;
mod digest;
mod key;
mod message;
pub(crate) mod method;
pub(crate) mod settings;
#[cfg(test)]
mod tests;
mod verdict;
mod webhook;
