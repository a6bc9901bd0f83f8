//! Policies, schema and entities from files, and everything that is wrong with them, with file, line and column.

use crate::cedar::fit::fits;
use crate::cedar::mistake::{CedarMistake, CedarMistakes};
use crate::cedar::settings::CedarSettings;
use crate::cedar::source::{Source, wrong_setting};
use cedar_policy::{
    Entities, Entity, EntityUid, Policy, PolicyId, PolicySet, Schema, ValidationMode, Validator,
};
use miette::Diagnostic;
use std::collections::HashSet;
use std::path::Path;

/// The files of the settings, as they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sources {
    policies: Vec<Source>,
    schema: Source,
    entities: Option<Source>,
}

impl Sources {
    pub(crate) fn read(settings: &CedarSettings) -> Result<Self, CedarMistakes> {
        let mut mistakes = Vec::new();
        if settings.policies.is_empty() {
            mistakes
                .push(wrong_setting("policies", "there are none, so that nobody could pass; expected files"));
        }
        if settings.schema == Path::new("") {
            mistakes.push(wrong_setting("schema", "it is missing; expected the file with the schema"));
        }
        let mut read = |key: String, path: &Path| match Source::read(key, path) {
            Ok(source) => Some(source),
            Err(mistake) => {
                mistakes.push(*mistake);
                None
            }
        };
        let policies = settings.policies.iter().enumerate();
        let policies = policies.filter_map(|(i, path)| read(format!("policies[{i}]"), path)).collect();
        let schema = Some(&settings.schema).filter(|path| **path != Path::new(""));
        let schema = schema.and_then(|path| read("schema".to_owned(), path));
        let entities = settings.entities.as_ref().and_then(|path| read("entities".to_owned(), path));
        match schema {
            Some(schema) if mistakes.is_empty() => Ok(Self { policies, schema, entities }),
            _ => Err(CedarMistakes(mistakes)),
        }
    }
}

/// What requests are judged by.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) policies: PolicySet,
    /// All of the file.
    pub(crate) entities: Entities,
    /// Those that policies may look at beside caller and route, which come with each request: requests cost in proportion
    /// to them.
    pub(crate) base: Entities,
    pub(crate) schema: Schema,
    /// What is likely not what was meant.
    pub(crate) warnings: Vec<CedarMistake>,
}

pub(crate) fn load(sources: &Sources, settings: &CedarSettings) -> Result<Loaded, CedarMistakes> {
    let mut mistakes = Vec::new();
    let schema = schema(&sources.schema).map_err(|mistake| mistakes.push(*mistake)).ok();
    let mut files = Vec::new();
    let mut all = PolicySet::new();
    for source in &sources.policies {
        files.push((source, policies(source, &mut all, &mut mistakes)));
    }
    let mut warnings = Vec::new();
    let mut entities = None;
    if let Some(schema) = &schema {
        mistakes.extend(fits(schema, &sources.schema, settings));
        entities = self::entities(sources, schema).map_err(|mistake| mistakes.push(*mistake)).ok();
        let validator = Validator::new(schema.clone());
        for (source, policies) in &files {
            let result = validator.validate(policies, ValidationMode::Strict);
            let found =
                |id: &PolicyId, what: &dyn Diagnostic| source.wrong_policy(Some(id.to_string()), what);
            mistakes.extend(result.validation_errors().map(|error| found(error.policy_id(), error)));
            warnings.extend(result.validation_warnings().map(|warning| found(warning.policy_id(), warning)));
        }
    }
    match (schema, entities) {
        (Some(schema), Some(entities)) if mistakes.is_empty() => {
            let base = base(&entities, &all)
                .map_err(|error| CedarMistakes(vec![sources.schema.wrong_at(None, error)]))?;
            Ok(Loaded { policies: all, entities, base, schema, warnings })
        }
        _ => Err(CedarMistakes(mistakes)),
    }
}

fn schema(source: &Source) -> Result<Schema, Box<CedarMistake>> {
    if source.path.extension().is_some_and(|extension| extension == "json") {
        return Schema::from_json_str(&source.text).map_err(|error| Box::new(source.wrong_json(&error)));
    }
    Schema::from_cedarschema_str(&source.text)
        .map_err(|error| Box::new(source.wrong(&error)))
        .map(|read| read.0)
}

fn entities(sources: &Sources, schema: &Schema) -> Result<Entities, Box<CedarMistake>> {
    match &sources.entities {
        None => schema.action_entities().map_err(|error| Box::new(sources.schema.wrong(&error))),
        Some(source) => Entities::from_json_str(&source.text, Some(schema))
            .map_err(|error| Box::new(source.wrong_json(&error))),
    }
}

/// Entities without the callers and routes that no policy names.
fn base(entities: &Entities, policies: &PolicySet) -> Result<Entities, String> {
    let named: HashSet<EntityUid> = policies.policies().flat_map(Policy::entity_literals).collect();
    let comes_with_requests =
        |uid: &EntityUid| ["User", "Route"].contains(&uid.type_name().to_string().as_str());
    let left_out =
        entities.iter().map(Entity::uid).filter(|uid| comes_with_requests(uid) && !named.contains(uid));
    let left_out: Vec<EntityUid> = left_out.collect();
    entities.clone().remove_entities(left_out).map_err(|error| error.to_string())
}

/// The policies of a file, which are also put to all others.
fn policies(source: &Source, all: &mut PolicySet, mistakes: &mut Vec<CedarMistake>) -> PolicySet {
    let mut own = PolicySet::new();
    let parsed: PolicySet = match source.text.parse() {
        Ok(parsed) => parsed,
        Err(errors) => {
            let errors: cedar_policy::ParseErrors = errors;
            for error in errors.iter() {
                let id = source.id_before(&source.wrong(error));
                mistakes.push(source.wrong_policy(id, error));
            }
            return own;
        }
    };
    for template in parsed.templates() {
        let id = template.annotation("id").map(str::to_owned);
        let place = id.as_ref().and_then(|id| source.place_of_id(id));
        let name = id.clone().map_or(String::new(), |id| format!(" `{id}`"));
        let message = format!("the policy{name} is a template; expected policies only");
        mistakes.push(CedarMistake { policy: id, ..source.wrong_at(place, message) });
    }
    for policy in parsed.policies() {
        // What logs call it: by `@id("…")`, or by its file and number.
        let id = policy
            .annotation("id")
            .map_or_else(|| format!("{}#{}", source.name(), policy.id()), str::to_owned);
        let policy = policy.new_id(PolicyId::new(&id));
        if all.add(policy.clone()).is_err() || own.add(policy).is_err() {
            let message = format!("there are two policies `{id}`: a duplicate; expected each id once");
            let place = source.place_of_id(&id);
            mistakes.push(CedarMistake { policy: Some(id), ..source.wrong_at(place, message) });
        }
    }
    own
}
