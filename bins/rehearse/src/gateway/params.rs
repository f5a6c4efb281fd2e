//! The parameters of a query-protocol request.

/// Names and values in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params(Vec<(String, String)>);

/// A `Filter.N` of EC2: any of the values may match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Its name.
    pub name: String,
    /// Its values, with `*` and `?`.
    pub values: Vec<String>,
}

impl Params {
    /// Only the action.
    #[must_use]
    pub fn action(action: &str) -> Self {
        Params(vec![("Action".to_owned(), action.to_owned())])
    }

    /// Reads a form body or a query string.
    #[must_use]
    pub fn parse(form: &[u8]) -> Self {
        Params(form_urlencoded::parse(form).into_owned().collect())
    }

    /// Writes a form body.
    #[must_use]
    pub fn form(&self) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.0).finish()
    }

    /// With one more parameter.
    #[must_use]
    pub fn and(mut self, name: &str, value: impl ToString) -> Self {
        self.0.push((name.to_owned(), value.to_string()));
        self
    }

    /// With a list `name.1`, `name.2`, …
    #[must_use]
    pub fn each<T: ToString>(mut self, name: &str, values: impl IntoIterator<Item = T>) -> Self {
        for (n, value) in values.into_iter().enumerate() {
            self = self.and(&format!("{name}.{}", n + 1), value);
        }
        self
    }

    /// With a default.
    #[must_use]
    pub fn or(self, name: &str, value: &str) -> Self {
        if self.get(name).is_some() { self } else { self.and(name, value) }
    }

    /// The value of a parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Whether a boolean parameter is true.
    #[must_use]
    pub fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// Whether any parameter begins so.
    #[must_use]
    pub fn has(&self, prefix: &str) -> bool {
        self.0.iter().any(|(name, _)| name.starts_with(prefix))
    }

    /// Sets a parameter.
    pub fn set(&mut self, name: &str, value: impl ToString) {
        self.remove(name);
        self.0.push((name.to_owned(), value.to_string()));
    }

    /// Takes a parameter away, with all below it.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(n, _)| n != name && !n.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')));
    }

    /// Takes away what has no value, but for the values of tags, which may be empty.
    pub fn drop_empty(&mut self) {
        self.0.retain(|(name, value)| !value.is_empty() || name.contains("Tag."));
    }

    /// The values of a list: `name.1`, or `name.member.1` as elasticloadbalancing and autoscaling have it.
    #[must_use]
    pub fn list(&self, name: &str) -> Vec<String> {
        let mut values: Vec<(u32, String)> = Vec::new();
        for (n, value) in &self.0 {
            let Some(rest) = n.strip_prefix(name).and_then(|rest| rest.strip_prefix('.')) else { continue };
            if let Ok(number) = rest.strip_prefix("member.").unwrap_or(rest).parse() {
                values.push((number, value.clone()));
            }
        }
        values.sort_by_key(|(number, _)| *number);
        values.into_iter().map(|(_, value)| value).collect()
    }

    /// The structures of a list, each with its own parameters: `name.1.A`, `name.2.A` …
    #[must_use]
    pub fn structures(&self, name: &str) -> Vec<Params> {
        let mut found: Vec<(u32, Params)> = Vec::new();
        for (n, value) in &self.0 {
            let Some(rest) = n.strip_prefix(name).and_then(|rest| rest.strip_prefix('.')) else { continue };
            let Some((number, inner)) = rest.strip_prefix("member.").unwrap_or(rest).split_once('.') else { continue };
            let Ok(number) = number.parse() else { continue };
            match found.iter_mut().find(|(n, _)| *n == number) {
                Some((_, params)) => params.0.push((inner.to_owned(), value.clone())),
                None => found.push((number, Params(vec![(inner.to_owned(), value.clone())]))),
            }
        }
        found.sort_by_key(|(number, _)| *number);
        found.into_iter().map(|(_, params)| params).collect()
    }

    /// Puts a list of structures in the place of the one of that name, numbered anew.
    pub fn put_structures(&mut self, name: &str, structures: &[Params]) {
        self.remove(name);
        for (n, structure) in structures.iter().enumerate() {
            for (inner, value) in &structure.0 {
                self.0.push((format!("{name}.{}.{inner}", n + 1), value.clone()));
            }
        }
    }

    /// The filters of EC2's Describe calls.
    #[must_use]
    pub fn filters(&self) -> Vec<Filter> {
        self.structures("Filter")
            .into_iter()
            .map(|f| Filter { name: f.get("Name").unwrap_or_default().to_owned(), values: f.list("Value") })
            .collect()
    }

    /// Takes the filters of a name out: the gateway applies them itself to what it rewrites.
    pub fn take_filter(&mut self, name: &str) -> Vec<Filter> {
        let taken = self.filters().into_iter().filter(|f| f.name == name).collect();
        let kept: Vec<Params> = self.structures("Filter").into_iter().filter(|f| f.get("Name") != Some(name)).collect();
        self.put_structures("Filter", &kept);
        taken
    }

    /// All of it in one order, without what names a retry: the same request again is equal.
    #[must_use]
    pub fn canonical(&self, without: &[&str]) -> Vec<(String, String)> {
        let mut sorted: Vec<_> = self.0.iter().filter(|(name, _)| !without.contains(&name.as_str())).cloned().collect();
        sorted.sort();
        sorted
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl Filter {
    /// Whether a value passes.
    #[must_use]
    pub fn passes(&self, value: &str) -> bool {
        self.values.iter().any(|pattern| matches(pattern.as_bytes(), value.as_bytes()))
    }
}

fn matches(pattern: &[u8], value: &[u8]) -> bool {
    match (pattern.first(), value.first()) {
        (None, None) => true,
        (Some(b'*'), _) => matches(&pattern[1..], value) || (!value.is_empty() && matches(pattern, &value[1..])),
        (Some(b'?'), Some(_)) => matches(&pattern[1..], &value[1..]),
        (Some(p), Some(v)) if p == v => matches(&pattern[1..], &value[1..]),
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_taken_out_and_the_rest_numbered_anew() {
        let form = b"Action=X&Filter.1.Name=instance-state-name&Filter.1.Value.1=running&Filter.1.Value.2=pend*\
            &Filter.2.Name=tag:a&Filter.2.Value.1=b";
        let mut params = Params::parse(form);
        let taken = params.take_filter("instance-state-name");
        assert_eq!(taken.len(), 1);
        assert!(taken[0].passes("pending") && taken[0].passes("running") && !taken[0].passes("stopped"));
        assert_eq!(params.form(), "Action=X&Filter.1.Name=tag%3Aa&Filter.1.Value.1=b");
    }

    #[test]
    fn lists_come_in_the_order_of_their_numbers() {
        let params = Params::parse(b"A.member.10=x&A.member.2=y&I.1=z&I.1.B=no");
        assert_eq!(params.list("A"), ["y", "x"]);
        assert_eq!(params.list("I"), ["z"]);
    }

    #[test]
    fn what_has_no_value_is_not_there_but_for_tags() {
        let mut params = Params::parse(b"SubnetId=&IamInstanceProfile.Name=&ImageId=a&TagSpecification.1.Tag.1.Value=");
        params.drop_empty();
        assert_eq!(params.form(), "ImageId=a&TagSpecification.1.Tag.1.Value=");
    }

    #[test]
    fn removing_takes_what_is_below_but_not_what_only_begins_so() {
        let mut params = Params::parse(b"Tag.1.Key=a&TagSpecification.1.X=b&Tag=c");
        params.remove("Tag");
        assert_eq!(params.form(), "TagSpecification.1.X=b");
    }
}
