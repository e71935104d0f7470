//! Roots of more layers than the kernel stacks at once would be slow or impossible: they are merged in groups, which must
//! not show.

use std::fs;

use kiln_testkit::{Fixture, TestResult, skip_unless_root};

#[test]
fn a_root_of_many_layers_shows_what_its_steps_made() -> TestResult {
    if skip_unless_root("a_root_of_many_layers_shows_what_its_steps_made") {
        return Ok(());
    }
    let fixture = Fixture::with_base_images()?;
    let mut dockerfile =
        String::from("FROM alpine:3.20\nRUN mkdir /made /gone && echo first > /changed && touch /gone/inner\n");
    for step in 0..210 {
        // Deletions, replacements and changes reach across the borders of the groups.
        let command = match step {
            150 => "rm -r /gone && echo file > /gone && echo second > /changed && rm /made/3".to_owned(),
            205 => "rm /made/120 && rm /gone && mkdir /gone && chmod 700 /made".to_owned(),
            _ => format!("echo {step} > /made/{step}"),
        };
        dockerfile.push_str(&format!("RUN {command}\n"));
    }
    dockerfile.push_str(
        "RUN ls /made | wc -l > /count; cat /changed /made/119 > /result; ls -A /gone | wc -l >> /result; stat -c %a /made >> \
         /result\n",
    );
    fixture.context("app", &[("Dockerfile", &dockerfile)])?;
    fixture.kiln(["build", "-o", "out", "app"]).run()?.assert_success();
    let read = |name: &str| fs::read_to_string(fixture.directory().join("out").join(name));
    assert_eq!(read("count")?.trim(), "206", "208 files were made and 2 removed");
    assert_eq!(read("result")?, "second\n119\n0\n700\n");
    assert!(!fixture.directory().join("out/made/3").exists());
    assert_eq!(fs::read_dir(fixture.directory().join("out/made"))?.count(), 206);
    Ok(())
}
