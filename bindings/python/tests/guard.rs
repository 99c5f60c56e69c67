//! The guard by itself; that it stands before every call is held by the tests in Python.

#[path = "../src/guard.rs"]
mod guard;

#[test]
fn a_panic_becomes_its_text() {
    assert_eq!(guard::calm(|| 7), Ok(7));
    assert_eq!(guard::calm::<()>(|| panic!("at once")), Err("at once".to_owned()));
    let number = 7;
    assert_eq!(guard::calm::<()>(|| panic!("the {number}th")), Err("the 7th".to_owned()));
    let other = guard::calm::<()>(|| std::panic::panic_any(7));
    assert_eq!(other, Err("a panic without a text".to_owned()));
}
