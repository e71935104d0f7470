//! One store and many builds at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use kiln_testkit::{Fixture, TestResult};

const BUILDS: usize = 16;

/// Contexts `app0` to `app3`: they share the base and a first step, two and two share a second one.
fn write_apps(fixture: &Fixture, value: &str) -> TestResult {
    for number in 0..4 {
        let dockerfile = format!(
            "FROM busybox\nRUN echo {value} > /common\nRUN echo {} {value} > /pair\nCOPY file /file\nRUN echo {number} > /own\n",
            number / 2
        );
        let name = format!("app{number}");
        fixture.context(&name, &[("Dockerfile", &dockerfile), ("file", &number.to_string())])?;
    }
    Ok(())
}

#[test]
fn common_steps_run_once_whoever_builds() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    write_apps(&fixture, "$(cat /proc/sys/kernel/random/uuid)")?;
    let children: Vec<_> = (0..BUILDS)
        .map(|number| {
            let mut command = fixture.command([
                "build".to_owned(),
                "-o".to_owned(),
                format!("out{number}"),
                format!("app{}", number % 4),
            ])?;
            command
                .stdin(std::process::Stdio::null())
                .stderr(std::process::Stdio::piped());
            Ok(command.spawn()?)
        })
        .collect::<Result<_, Box<dyn std::error::Error>>>()?;
    for child in children {
        let output = child.wait_with_output()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let read = |number: usize, file: &str| fs::read_to_string(fixture.directory().join(format!("out{number}/{file}")));
    let (mut common, mut pairs) = (BTreeSet::new(), BTreeMap::<usize, BTreeSet<String>>::new());
    for number in 0..BUILDS {
        common.insert(read(number, "common")?);
        pairs.entry(number % 4 / 2).or_default().insert(read(number, "pair")?);
        assert_eq!(read(number, "own")?.trim(), (number % 4).to_string());
    }
    assert_eq!(common.len(), 1, "the first step ran once: {common:?}");
    assert!(
        pairs.values().all(|values| values.len() == 1),
        "the second ran once for each pair: {pairs:?}"
    );
    fixture.kiln(["fsck"]).run()?.assert_success();
    Ok(())
}

#[test]
fn pruning_beside_builds_harms_none() -> TestResult {
    const ROUNDS: usize = 4;
    let mut fixture = Fixture::with_base_images()?;
    fixture.set_env("SOURCE_DATE_EPOCH", "1000000000");
    write_apps(&fixture, "common")?;
    let build = |fixture: &Fixture, number: usize| -> Result<String, String> {
        let name = format!("app{number}");
        let arguments = ["build", "-t", &format!("{name}:1"), &name];
        let outcome = fixture.kiln(arguments).run().map_err(|error| error.to_string())?;
        if outcome.status.success() {
            Ok(outcome.stdout_text())
        } else {
            Err(outcome.stderr)
        }
    };
    let state = fixture.state().to_owned();
    fixture.set_state(fixture.directory().join("reference"));
    let expected = (0..4)
        .map(|number| build(&fixture, number))
        .collect::<Result<Vec<_>, _>>()?;
    fixture.set_state(state);
    let (over, pruned) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let outcome = fixture.kiln(["prune", "-af"]).run();
                let outcome = outcome.expect("kiln starts");
                outcome.assert_success();
                pruned.fetch_add(1, Ordering::SeqCst);
            }
        });
        let builders: Vec<_> = (0..4)
            .map(|number| {
                let (fixture, expected) = (&fixture, &expected);
                scope.spawn(move || {
                    for _ in 0..ROUNDS {
                        assert_eq!(build(fixture, number).as_ref(), Ok(&expected[number]));
                    }
                })
            })
            .collect();
        let ended: Vec<_> = builders.into_iter().map(|builder| builder.join()).collect();
        over.store(true, Ordering::SeqCst);
        for result in ended {
            result.expect("a build that nobody harmed");
        }
    });
    assert!(pruned.load(Ordering::SeqCst) > 2, "prune was at work");
    fixture.kiln(["fsck"]).run()?.assert_success();
    Ok(())
}
