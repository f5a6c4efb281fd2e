//! `gyron.toml`: the one place of an app's settings.
//!
//! Precedence: flag (`--set TABLE.KEY=VALUE`), variable (`GYRON_TABLE_KEY`), environment's table (`[env.NAME.TABLE]`),
//! table. Unknown keys are refused everywhere, also in environments that aren't asked for.

pub mod image;
mod overrides;
pub mod schema;
pub mod secret;
pub mod span;
mod trouble;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub use self::overrides::Override;
use self::schema::{Bake, Launch, Package, Smoke, Spec, Swap, Tables};
use crate::failure::{Failure, OrFail as _, Result};

/// The name of the file, looked for in the current folder and above it.
pub const FILE_NAME: &str = "gyron.toml";

/// The settings of an app, for one environment or for none.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder in which gyron.toml stands: the root of the app's repo.
    pub root: PathBuf,
    /// The environment whose tables were laid over, if any.
    pub env: Option<String>,
    /// The settings.
    pub tables: Tables,
}

impl Config {
    /// Finds gyron.toml in `start` or above it, and reads it.
    ///
    /// # Errors
    /// Usage (2): there is none, or it is wrong; the message shows file, line and caret.
    pub fn find(start: &Path, env: Option<&str>, overrides: &[Override]) -> Result<Self> {
        let root = start.ancestors().find(|folder| folder.join(FILE_NAME).is_file()).ok_or_else(|| {
            Failure::usage(format!("no {FILE_NAME} in {} or above it", start.display()))
                .hint("run it in an app's repo, or name the folder with -C")
        })?;
        let path = root.join(FILE_NAME);
        let text =
            std::fs::read_to_string(&path).or_fail(|| Failure::usage(format!("can't read {}", path.display())))?;
        Self::read(root, &text, env, overrides)
    }

    /// Reads the text of a gyron.toml that stands in `root`.
    ///
    /// # Errors
    /// As [`Config::find`].
    pub fn read(root: &Path, text: &str, env: Option<&str>, overrides: &[Override]) -> Result<Self> {
        let source = trouble::Source { name: FILE_NAME, text };
        let document = DeTable::parse(text).map_err(|error| source.point_at(&error))?;
        let span = document.span();
        let mut tables = document.into_inner();
        let environments = environments(&source, &mut tables)?;

        parse(span.clone(), tables.clone()).map_err(|error| source.point_at(&error))?;
        for overlay in environments.values() {
            let mut laid = tables.clone();
            lay_over(&mut laid, overlay.clone());
            parse(span.clone(), laid).map_err(|error| source.point_at(&error))?;
        }
        if let Some(name) = env {
            match environments.get(name) {
                Some(overlay) => lay_over(&mut tables, overlay.clone()),
                None if environments.is_empty() => {}
                None => return Err(source.unknown_environment(name, environments.keys().map(String::as_str))),
            }
        }
        for setting in overrides {
            setting.lay_over(&mut tables)?;
        }
        let tables = parse(span, tables).map_err(|error| Override::blame(overrides, &error))?;
        let config = Config { root: root.to_owned(), env: env.map(str::to_owned), tables };
        config.check(&source)?;
        Ok(config)
    }

    fn check(&self, source: &trouble::Source<'_>) -> Result<()> {
        let app = &self.tables.app;
        let fits = (1..=32).contains(&app.len())
            && app.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !app.starts_with('-')
            && !app.ends_with('-');
        if !fits {
            return Err(source.wrong_value(
                "app",
                app,
                "an app's name is of letters, digits and hyphens, at most 32, since AWS names are made of it",
            ));
        }
        if let Some(package) = &self.tables.package
            && package.include.is_empty() == package.artifact.is_none()
        {
            return Err(source.wrong_table("package", "it takes either `include` or `artifact`"));
        }
        if let Some(bake) = &self.tables.bake {
            let named =
                [&bake.base.ssm, &bake.base.id, &bake.base.name].into_iter().filter(|way| way.is_some()).count();
            if named != 1 {
                return Err(source.wrong_table("bake", "`base` takes exactly one of `ssm`, `id` and `name`"));
            }
            if bake.base.name.is_some() != bake.base.owner.is_some() {
                return Err(source.wrong_table(
                    "bake",
                    "`name` and `owner` of `base` go together: anybody may publish an image of any name",
                ));
            }
            if let Some(wrong) = bake.wrong_layers().or_else(|| bake.wrong_secrets()) {
                return Err(source.wrong_table("bake", wrong));
            }
            if let Some(wrong) = bake.wrong_image(&self.tables.region) {
                return Err(source.wrong_table("bake", &wrong));
            }
        }
        Ok(())
    }

    /// The app's name.
    #[must_use]
    pub fn app(&self) -> &str {
        &self.tables.app
    }

    /// The environment; the steps of the second half demand one.
    ///
    /// # Errors
    /// Usage (2) where none was named.
    pub fn env(&self) -> Result<&str> {
        self.env.as_deref().ok_or_else(|| {
            Failure::usage("no environment is named").hint("name one: --env production, or GYRON_ENV=production")
        })
    }

    /// `[package]`
    ///
    /// # Errors
    /// Usage (2) where the table is missing; so with its sisters.
    pub fn package(&self) -> Result<&Package> {
        demand(self.tables.package.as_ref(), "package", "include = [\"app/**\"]")
    }

    /// `[bake]`
    ///
    /// # Errors
    /// Usage (2) where the table is missing.
    pub fn bake(&self) -> Result<&Bake> {
        demand(self.tables.bake.as_ref(), "bake", "base = { ssm = \"/aws/service/debian/release/12/latest/amd64\" }")
    }

    /// `[spec]`
    ///
    /// # Errors
    /// Usage (2) where the table is missing.
    pub fn spec(&self) -> Result<&Spec> {
        demand(self.tables.spec.as_ref(), "spec", "path = \"spec\"")
    }

    /// `[launch]`
    ///
    /// # Errors
    /// Usage (2) where the table is missing.
    pub fn launch(&self) -> Result<&Launch> {
        demand(self.tables.launch.as_ref(), "launch", "capacity = { min = 2, max = 4 }")
    }

    /// `[smoke]`
    ///
    /// # Errors
    /// Usage (2) where the table is missing.
    pub fn smoke(&self) -> Result<&Smoke> {
        demand(self.tables.smoke.as_ref(), "smoke", "check = [{ get = \"/health\" }]")
    }

    /// `[swap]`, which may be left out.
    #[must_use]
    pub fn swap(&self) -> Swap {
        self.tables.swap.clone().unwrap_or_default()
    }
}

fn demand<'a, T>(table: Option<&'a T>, name: &str, example: &str) -> Result<&'a T> {
    table.ok_or_else(|| {
        Failure::usage(format!("{FILE_NAME} has no [{name}] table, which this step reads"))
            .hint(format!("add one:\n\n    [{name}]\n    {example}\n"))
    })
}

type Table<'a> = DeTable<'a>;

/// Takes `[env.NAME]` tables out of the document: they are overlays, no settings of their own.
fn environments<'a>(source: &trouble::Source<'_>, tables: &mut Table<'a>) -> Result<BTreeMap<String, Table<'a>>> {
    let mut found = BTreeMap::new();
    let Some(env) = tables.remove("env") else { return Ok(found) };
    let span = env.span();
    let DeValue::Table(env) = env.into_inner() else {
        return Err(source.at(span, "`env` is a table of environments", "write [env.production]"));
    };
    for (name, overlay) in env {
        let span = overlay.span();
        let DeValue::Table(overlay) = overlay.into_inner() else {
            return Err(source.at(span, "an environment is a table", "write [env.production.launch]"));
        };
        found.insert(name.into_inner().into_owned(), overlay);
    }
    Ok(found)
}

/// Lays one table over another: tables are merged key by key, all else is replaced.
fn lay_over<'a>(below: &mut Table<'a>, above: Table<'a>) {
    for (key, value) in above {
        match (below.get_mut(key.get_ref().as_ref()).map(Spanned::get_mut), value) {
            (Some(DeValue::Table(below)), value) if value.get_ref().is_table() => {
                if let DeValue::Table(above) = value.into_inner() {
                    lay_over(below, above);
                }
            }
            (_, value) => {
                below.insert(key, value);
            }
        }
    }
}

fn parse(span: std::ops::Range<usize>, tables: Table<'_>) -> Result<Tables, toml::de::Error> {
    Tables::deserialize(toml::de::Deserializer::from(Spanned::new(span, tables)))
}

#[cfg(test)]
mod tests;
