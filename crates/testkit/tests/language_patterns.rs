//! wip
use kiln_testkit::*;
fn go(l: Language) -> TestResult { LanguageImages::prepare(l)?; Ok(()) }
#[test] fn a_go() -> TestResult { go(Language::Go) }
#[test] fn b_node() -> TestResult { go(Language::Node) }
#[test] fn c_python() -> TestResult { go(Language::Python) }
#[test] fn d_java() -> TestResult { go(Language::Java) }
#[test] fn e_rust() -> TestResult { go(Language::Rust) }
