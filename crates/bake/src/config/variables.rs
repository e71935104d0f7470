//! Variables: defaults, types, what is given from outside, and validation.

use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::eval::type_constraint;
use crate::source::Span;
use crate::syntax::{Attribute, Block};
use crate::value::{Type, Value, convert};

use super::Variable;
use super::evaluation::{Evaluation, Failure, only_known};
use super::override_value::{from_json, from_text, untyped_from_text};

impl<'a> Evaluation<'a> {
    /// Evaluates and validates all variables.
    pub(super) fn resolve_variables(&mut self) -> Result<Vec<Variable>, Diagnostics> {
        let mut listed = Vec::new();
        for (name, block) in self.variables.clone() {
            if let Err(failure) = self.resolve_value(&name) {
                return Err(failure.at("Invalid value", block.body.missing));
            }
            listed.push(self.listed(&name, block)?);
        }
        self.validate_variables()?;
        Ok(listed)
    }

    fn listed(&mut self, name: &Arc<str>, block: &'a Block) -> Result<Variable, Diagnostics> {
        let description = match block.body.attribute("description") {
            Some(description) => {
                let value = self.evaluate(&description.value, &[])?;
                convert(&value, &Type::String)
                    .ok()
                    .and_then(|text| text.as_str().map(str::to_owned))
                    .unwrap_or_default()
            }
            None => String::new(),
        };
        let written_type = match block.body.attribute("type") {
            Some(of) => Some(type_constraint(&of.value)?.written()),
            None => None,
        };
        let value =
            self.values
                .get(name)
                .filter(|value| !value.is_null())
                .map(|value| match convert(value, &Type::String) {
                    Ok(Value::String(text)) => text.to_string(),
                    _ => crate::value::encode_json(value),
                });
        Ok(Variable {
            name: name.to_string(),
            description,
            written_type,
            value,
        })
    }

    /// The value of a variable or of an attribute of its name, which comes first.
    pub(super) fn variable_value(
        &mut self,
        name: &Arc<str>,
        variable: Option<&'a Block>,
        attribute: Option<&'a Attribute>,
    ) -> Result<Value, Failure> {
        let Some(block) = variable else {
            return match attribute {
                Some(attribute) => {
                    self.load(&attribute.value, &[], true)?;
                    Ok(self.evaluate(&attribute.value, &[])?)
                }
                None => Err(Failure::Undefined(format!("variable {name:?} does not exist"))),
            };
        };
        // What else stands in a variable is for other tools.
        if let Err(wrong) = only_known(&block.body, &["type", "default", "description"], &["validation"]) {
            self.warnings.extend(wrong.into_vec());
        }
        let wanted = match block.body.attribute("type") {
            Some(of) => Some(type_constraint(&of.value)?),
            None => None,
        };
        let default = match attribute.or_else(|| block.body.attribute("default")) {
            Some(default) => {
                self.load(&default.value, &[], true)?;
                let value = self.evaluate(&default.value, &[])?;
                Some(self.typed_default(name, value, wanted.as_ref())?)
            }
            None => None,
        };
        match (self.given(name, wanted.as_ref(), default.as_ref())?, default, wanted) {
            (Some(given), ..) => Ok(given),
            (None, Some(default), _) => Ok(default),
            (None, None, Some(wanted)) => Ok(Value::Null(wanted)),
            (None, None, None) => Ok(Value::string("")),
        }
    }

    fn typed_default(&self, name: &str, value: Value, wanted: Option<&Type>) -> Result<Value, Failure> {
        match wanted {
            None => Ok(value),
            Some(wanted) => convert(&value, wanted).map_err(|error| {
                Failure::Plain(format!(
                    "invalid type {} for variable {name} default value: {error}",
                    wanted.friendly()
                ))
            }),
        }
    }

    /// What is given from outside: `NAME_JSON` for a variable with a type, else `NAME`.
    fn given(&self, name: &str, wanted: Option<&Type>, default: Option<&Value>) -> Result<Option<Value>, Failure> {
        let json_name = format!("{name}_JSON");
        let taken = self.variables.iter().any(|(known, _)| **known == *json_name);
        if let Some(wanted) = wanted
            && !taken
            && let Some(text) = self.inputs.lookup(&json_name)
        {
            return from_json(name, text, wanted).map(Some).map_err(Failure::Plain);
        }
        let Some(text) = self.inputs.lookup(name) else {
            return Ok(None);
        };
        let value = match (wanted, default) {
            (Some(wanted), _) => from_text(name, text, wanted),
            (None, Some(default)) => untyped_from_text(name, text, &default.type_of()),
            (None, None) => Ok(Value::string(text)),
        };
        value.map(Some).map_err(Failure::Plain)
    }

    fn validate_variables(&mut self) -> Result<(), Diagnostics> {
        let mut wrong = Vec::new();
        for (_, block) in self.variables.clone() {
            for validation in block.body.blocks.iter().filter(|block| &*block.kind == "validation") {
                if let Err(found) = self.validate(validation) {
                    wrong.extend(found.into_vec());
                }
            }
        }
        match Diagnostics::some(wrong) {
            Some(wrong) => Err(wrong),
            None => Ok(()),
        }
    }

    fn validate(&mut self, validation: &Block) -> Result<(), Diagnostics> {
        const RESULT: &str = "Invalid condition result";
        let condition = validation.body.attribute("condition");
        let place = condition.map_or(validation.body.missing, |condition| condition.value.span);
        let value = match condition {
            Some(condition) => {
                self.load(&condition.value, &[], true)?;
                self.evaluate(&condition.value, &[])?
            }
            None => Value::Null(Type::Any),
        };
        if value.is_null() {
            let detail = "Condition expression must return either true or false, not null.";
            return Err(Diagnostic::new(RESULT, detail, place).into());
        }
        match convert(&value, &Type::Bool) {
            Ok(Value::Bool(true)) => Ok(()),
            Ok(_) => Err(self.failed_validation(validation, place)),
            Err(error) => {
                let detail = format!("Invalid condition result value: {error}");
                Err(Diagnostic::new(RESULT, detail, place).into())
            }
        }
    }

    fn failed_validation(&mut self, validation: &Block, place: Span) -> Diagnostics {
        let mut detail = "This check failed, but has an invalid error message.".to_owned();
        if let Some(message) = validation.body.attribute("error_message") {
            let value = self
                .load(&message.value, &[], true)
                .and_then(|()| self.evaluate(&message.value, &[]));
            match value {
                Ok(value) => {
                    if let Ok(Value::String(text)) = convert(&value, &Type::String) {
                        detail = text.trim().to_owned();
                    }
                }
                Err(wrong) => return wrong,
            }
        }
        Diagnostic::new("Validation failed", detail, place).into()
    }
}
