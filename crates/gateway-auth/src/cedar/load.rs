//! Policies, schema and entities from files, and what is wrong with them, with file, line and column.

use crate::AuthError;
use cedar_policy::{Entities, PolicyId, PolicySet, Schema, ValidationMode, Validator};
use miette::Diagnostic;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// A file as it was read.
struct File {
    path: PathBuf,
    text: String,
}

impl File {
    fn read(path: &Path) -> Result<Self, AuthError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Self { path: path.to_owned(), text }),
            Err(source) => Err(AuthError::File { path: path.to_owned(), source }),
        }
    }

    /// What is wrong, with the place where it is if that is known.
    fn wrong(&self, what: &dyn Diagnostic) -> AuthError {
        let offset = what.labels().and_then(|mut labels| labels.next()).map(|label| label.offset());
        let related = || what.related()?.next()?.labels()?.next().map(|label| label.offset());
        let place = offset.or_else(related).map_or(String::new(), |offset| {
            let before = self.text.get(..offset).unwrap_or(&self.text);
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            format!(":{line}:{column}")
        });
        let help = what.help().map_or(String::new(), |help| format!(" ({help})"));
        AuthError::setting(format!("{}{place}", self.path.display()), format!("{what}{help}"))
    }
}

/// What requests are judged by.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) policies: PolicySet,
    pub(crate) entities: Entities,
}

pub(crate) fn load(
    policies: &[PathBuf],
    schema: &Path,
    entities: Option<&Path>,
) -> Result<Loaded, AuthError> {
    if policies.is_empty() {
        return Err(AuthError::setting(
            "policies",
            "there are none, so that nobody could pass; expected files",
        ));
    }
    let file = File::read(schema)?;
    let is_json = schema.extension().is_some_and(|extension| extension == "json");
    let schema = match is_json {
        true => Schema::from_json_str(&file.text).map_err(|error| file.wrong(&error))?,
        false => Schema::from_cedarschema_str(&file.text).map_err(|error| file.wrong(&error))?.0,
    };
    let entities = match entities {
        None => schema.action_entities().map_err(|error| file.wrong(&error))?,
        Some(path) => {
            let file = File::read(path)?;
            Entities::from_json_str(&file.text, Some(&schema)).map_err(|error| file.wrong(&error))?
        }
    };
    let (mut all, mut files) = (PolicySet::new(), HashMap::new());
    for path in policies {
        let file = File::read(path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let parsed: PolicySet =
            file.text.parse().map_err(|error: cedar_policy::ParseErrors| file.wrong(&error))?;
        if parsed.templates().next().is_some() {
            return Err(AuthError::setting(
                path.display().to_string(),
                "it has a template; expected policies only",
            ));
        }
        let mut found = PolicySet::new();
        for policy in parsed.policies() {
            // What logs call it: by `@id("…")`, or by its file and number.
            let id = policy.annotation("id").map_or_else(|| format!("{name}#{}", policy.id()), str::to_owned);
            let policy = policy.new_id(PolicyId::new(&id));
            for set in [&mut found, &mut all] {
                set.add(policy.clone()).map_err(|error| file.wrong(&error))?;
            }
        }
        files.insert(path, (file, found));
    }
    let validator = Validator::new(schema);
    for (file, policies) in files.values() {
        let result = validator.validate(policies, ValidationMode::Strict);
        if let Some(error) = result.validation_errors().next() {
            return Err(file.wrong(error));
        }
    }
    Ok(Loaded { policies: all, entities })
}
