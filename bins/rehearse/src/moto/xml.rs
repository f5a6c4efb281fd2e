//! XML answers as trees: read, changed and written back without knowing every member.

use quick_xml::escape::partial_escape;
use quick_xml::events::Event;

/// An element with its attributes, children and text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// The element's name, prefix included.
    pub name: String,
    attributes: Vec<(String, String)>,
    /// Child elements in order.
    pub children: Vec<Node>,
    /// The text, unescaped; elements of AWS's answers have either text or children.
    pub text: String,
}

/// The text was not XML.
#[derive(Debug, thiserror::Error)]
#[error("not well-formed XML: {0}")]
pub struct Malformed(String);

impl Node {
    /// An element with children.
    #[must_use]
    pub fn new(name: &str, children: Vec<Node>) -> Self {
        Node { name: name.to_owned(), children, ..Node::default() }
    }

    /// An element with text.
    #[must_use]
    pub fn leaf(name: &str, text: impl ToString) -> Self {
        Node { name: name.to_owned(), text: text.to_string(), ..Node::default() }
    }

    /// With an attribute.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.attributes.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Reads a document.
    ///
    /// # Errors
    /// When it isn't well-formed.
    pub fn parse(document: &[u8]) -> Result<Node, Malformed> {
        let broken = |error: &dyn std::fmt::Display| Malformed(error.to_string());
        let text = std::str::from_utf8(document).map_err(|e| broken(&e))?;
        let mut reader = quick_xml::Reader::from_str(text);
        reader.config_mut().expand_empty_elements = true;
        let mut open = vec![Node::default()];
        loop {
            match reader.read_event().map_err(|e| broken(&e))? {
                Event::Start(start) => {
                    let mut node = Node { name: start.name().as_ref().to_owned(), ..Node::default() };
                    for attribute in start.attributes() {
                        let attribute = attribute.map_err(|e| broken(&e))?;
                        let value = quick_xml::escape::unescape(&attribute.value).map_err(|e| broken(&e))?.into_owned();
                        node.attributes.push((attribute.key.as_ref().to_owned(), value));
                    }
                    open.push(node);
                }
                Event::End(_) => {
                    let mut node = open.pop().ok_or_else(|| broken(&"an end without a start"))?;
                    // Pretty-printed answers have white space between elements.
                    if !node.children.is_empty() {
                        node.text.clear();
                    }
                    open.last_mut().ok_or_else(|| broken(&"an end without a start"))?.children.push(node);
                }
                Event::Text(text) => {
                    if let Some(node) = open.last_mut() {
                        node.text.push_str(&text);
                    }
                }
                Event::CData(text) => {
                    if let Some(node) = open.last_mut() {
                        node.text.push_str(&text);
                    }
                }
                Event::GeneralRef(entity) => {
                    let reference = format!("&{};", &*entity);
                    let character = quick_xml::escape::unescape(&reference).map_err(|e| broken(&e))?.into_owned();
                    if let Some(node) = open.last_mut() {
                        node.text.push_str(&character);
                    }
                }
                Event::Eof => break,
                _ => {}
            }
        }
        match open.pop() {
            Some(mut document) if open.is_empty() && document.children.len() == 1 => {
                document.children.pop().ok_or_else(|| broken(&"empty"))
            }
            _ => Err(Malformed("no single root element".to_owned())),
        }
    }

    /// Writes a document.
    #[must_use]
    pub fn document(&self) -> Vec<u8> {
        let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        self.write(&mut text);
        text.into_bytes()
    }

    fn write(&self, to: &mut String) {
        to.push('<');
        to.push_str(&self.name);
        for (name, value) in &self.attributes {
            to.push(' ');
            to.push_str(name);
            to.push_str("=\"");
            to.push_str(&quick_xml::escape::escape(value.as_str()));
            to.push('"');
        }
        if self.children.is_empty() && self.text.is_empty() {
            to.push_str("/>");
            return;
        }
        to.push('>');
        for child in &self.children {
            child.write(to);
        }
        // XML allows few control characters, not even as references; a console's text may hold any.
        let text: String = self.text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t')).collect();
        to.push_str(&partial_escape(text.as_str()));
        to.push_str("</");
        to.push_str(&self.name);
        to.push('>');
    }

    /// The first child of that name.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<&Node> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The first child of that name, to change.
    pub fn child_mut(&mut self, name: &str) -> Option<&mut Node> {
        self.children.iter_mut().find(|child| child.name == name)
    }

    /// The element at a path of names.
    #[must_use]
    pub fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, name| node.child(name))
    }

    /// The children of the element at a path: the members of a list. None where it is missing.
    pub fn list<'a>(&'a self, path: &[&str]) -> impl Iterator<Item = &'a Node> + use<'a> {
        self.at(path).map_or([].as_slice(), |node| node.children.as_slice()).iter()
    }

    /// The text at a path; empty where it is missing.
    #[must_use]
    pub fn get(&self, path: &[&str]) -> &str {
        self.at(path).map_or("", |node| node.text.as_str())
    }

    /// Sets the text of a child, adding it where it is missing.
    pub fn set(&mut self, name: &str, text: impl ToString) {
        let node = Node::leaf(name, text);
        self.put(node);
    }

    /// Puts a child in the place of the one with its name, or at the end.
    pub fn put(&mut self, node: Node) {
        match self.child_mut(&node.name) {
            Some(old) => *old = node,
            None => self.children.push(node),
        }
    }

    /// Takes away children of that name.
    pub fn remove(&mut self, name: &str) {
        self.children.retain(|child| child.name != name);
    }

    /// Visits this element and all below it, to change them.
    pub fn visit(&mut self, change: &mut impl FnMut(&mut Node)) {
        change(self);
        for child in &mut self.children {
            child.visit(change);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_back() {
        let text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<a xmlns=\"http://x/\"><b>&lt;b&amp;d&gt;</b><c/><d><e>1</e></d></a>";
        let node = Node::parse(text.as_bytes()).unwrap();
        assert_eq!(node.get(&["b"]), "<b&d>");
        assert_eq!(String::from_utf8(node.document()).unwrap(), text);
    }

    #[test]
    fn space_between_elements_is_not_text() {
        let node = Node::parse(b"<a>\n  <b> x </b>\n</a>").unwrap();
        assert_eq!(node.text, "");
        assert_eq!(node.get(&["b"]), " x ");
    }

    #[test]
    fn html_is_refused() {
        assert!(Node::parse(b"<!doctype html>\n<html lang=en>\n<title>500</title>\n<p>x").is_err());
    }

    #[test]
    fn control_characters_are_left_out() {
        assert!(String::from_utf8(Node::leaf("a", "x\u{1b}[0m\u{0}y").document()).unwrap().ends_with("<a>x[0my</a>"));
    }
}
