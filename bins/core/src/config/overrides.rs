//! Values that a flag or a variable lays over the file.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::Value as Json;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::schema::Tables;
use super::trouble::nearest;
use crate::failure::{Failure, Result};

/// One value that is laid over the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// Where it came from, as the person wrote it: `--set bake.playbook=…` or `GYRON_BAKE_PLAYBOOK`.
    origin: String,
    path: Vec<String>,
    /// `value = …`, as TOML.
    document: String,
}

impl Override {
    fn new(origin: String, leaf: &Leaf, value: &str) -> Self {
        let document = match leaf.is_text {
            true => format!("value = {}", toml::Value::String(value.to_owned())),
            false => format!("value = {value}"),
        };
        Override { origin, path: leaf.path.clone(), document }
    }

    /// Reads a flag's `TABLE.KEY=VALUE`.
    ///
    /// # Errors
    /// Usage (2): no such key, or no `=`.
    pub fn from_flag(text: &str) -> Result<Self> {
        let origin = format!("--set {text}");
        let (key, value) = text.split_once('=').ok_or_else(|| {
            Failure::usage(format!("`{origin}` has no value")).hint("write --set bake.playbook=ansible/other.yml")
        })?;
        let known = keys();
        let Some(leaf) = known.iter().find(|leaf| leaf.dotted() == key) else {
            let failure = Failure::usage(format!("`{origin}`: gyron.toml knows no key `{key}`"));
            let names: Vec<_> = known.iter().map(Leaf::dotted).collect();
            return Err(match nearest(key, names.iter().map(String::as_str)) {
                Some(near) => failure.hint(format!("did you mean `{near}`?")),
                None => failure.hint(format!("the keys are {}", names.join(", "))),
            });
        };
        Ok(Override::new(origin, leaf, value))
    }

    /// Finds the variables among `variables` that override a key: `GYRON_BAKE_INSTANCE_PROFILE`.
    ///
    /// # Errors
    /// Usage (2) for one that names a table of gyron.toml but no key of it: a typing error must not pass in silence.
    pub fn from_variables(variables: impl Iterator<Item = (String, String)>) -> Result<Vec<Self>> {
        let known = keys();
        let tables = ["PACKAGE", "BAKE", "SPEC", "LAUNCH", "SMOKE", "SWAP"];
        let mut found = Vec::new();
        for (name, value) in variables {
            let Some(rest) = name.strip_prefix("GYRON_") else { continue };
            if let Some(leaf) = known.iter().find(|leaf| leaf.variable() == name) {
                found.push(Override::new(name, leaf, &value));
            } else if tables.iter().any(|table| rest.starts_with(&format!("{table}_"))) {
                let names: Vec<_> = known.iter().map(Leaf::variable).collect();
                let failure = Failure::usage(format!("the variable {name} names no key of gyron.toml"));
                return Err(match nearest(&name, names.iter().map(String::as_str)) {
                    Some(near) => failure.hint(format!("did you mean {near}?")),
                    None => failure.hint(format!("unset {name}")),
                });
            }
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    pub(super) fn lay_over<'a>(&'a self, tables: &mut DeTable<'a>) -> Result<()> {
        let value = self.parse()?;
        let Some((last, parents)) = self.path.split_last() else { return Ok(()) };
        let mut table = tables;
        for parent in parents {
            let entry = table
                .entry(Spanned::new(NOWHERE, Cow::Owned(parent.clone())))
                .or_insert_with(|| Spanned::new(NOWHERE, DeValue::Table(DeTable::new())));
            match entry.get_mut() {
                DeValue::Table(inner) => table = inner,
                _ => return Err(Failure::usage(format!("`{}`: `{parent}` is no table", self.origin))),
            }
        }
        table.insert(Spanned::new(NOWHERE, Cow::Owned(last.clone())), value);
        Ok(())
    }

    fn parse(&self) -> Result<Spanned<DeValue<'_>>> {
        let mut document = DeTable::parse(&self.document)
            .map_err(|_| Failure::usage(format!("`{}`: this is no value as TOML writes it", self.origin)))?
            .into_inner();
        document.remove("value").ok_or_else(|| Failure::defect("an override lost its value"))
    }

    /// Says which override made the settings wrong: the file alone was right before them.
    pub(super) fn blame(overrides: &[Override], error: &toml::de::Error) -> Failure {
        let origins: Vec<_> = overrides.iter().map(|setting| format!("`{}`", setting.origin)).collect();
        Failure::usage(format!("{}: {}", origins.join(", "), error.message()))
    }
}

const NOWHERE: Range<usize> = 0..0;

/// A key of gyron.toml that holds a value.
struct Leaf {
    path: Vec<String>,
    is_text: bool,
}

impl Leaf {
    fn dotted(&self) -> String {
        self.path.join(".")
    }

    fn variable(&self) -> String {
        format!("GYRON_{}", self.path.join("_").replace('-', "_").to_uppercase())
    }
}

/// All keys, read from the JSON Schema that is generated from the types: so that no list can drift from them.
fn keys() -> Vec<Leaf> {
    let schema = schemars::schema_for!(Tables).to_value();
    let mut leaves = Vec::new();
    walk(&schema, &schema, &mut Vec::new(), &mut leaves);
    leaves
}

fn walk(root: &Json, node: &Json, path: &mut Vec<String>, leaves: &mut Vec<Leaf>) {
    let node = resolve(root, node);
    match node.get("properties").and_then(Json::as_object) {
        Some(properties) => {
            for (name, property) in properties {
                path.push(name.clone());
                walk(root, property, path, leaves);
                path.pop();
            }
        }
        None => leaves.push(Leaf { path: path.clone(), is_text: is_text(node) }),
    }
}

fn resolve<'a>(root: &'a Json, node: &'a Json) -> &'a Json {
    if let Some(name) = node.get("$ref").and_then(Json::as_str) {
        return name.strip_prefix('#').and_then(|pointer| root.pointer(pointer)).unwrap_or(node);
    }
    let choices = node.get("anyOf").or_else(|| node.get("allOf")).and_then(Json::as_array);
    match choices.and_then(|choices| choices.iter().find(|choice| choice.get("$ref").is_some())) {
        Some(choice) => resolve(root, choice),
        None => node,
    }
}

fn is_text(node: &Json) -> bool {
    match node.get("type") {
        Some(Json::String(name)) => name == "string",
        Some(Json::Array(names)) => names.iter().any(|name| name == "string"),
        _ => false,
    }
}
