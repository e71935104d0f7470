//! A02: the tags of installed wheels, and wheel files that lie in the image.

use crate::check::Checks;
use crate::facts::FileFacts;
use crate::finding::{Code, Severity};
use crate::wheel;

/// Compares the tags of `*.dist-info/WHEEL` and of `*.whl` with the platform.
pub(crate) fn check(checks: &mut Checks<'_, '_>) {
    for (path, node) in checks.view.root.all() {
        let (target, libc) = (&checks.view.target, checks.view.libc);
        match node.file() {
            Some(FileFacts::Wheel(tags)) => {
                let Some(reason) = wheel::mismatch(tags, target, libc) else {
                    continue;
                };
                // Distributions repackage wheels; what they wrote on the build machine is no promise.
                let severity = if path.contains("/dist-packages/") {
                    Severity::Warning
                } else {
                    Severity::Error
                };
                let repair = "install the package in a stage of the target platform (not `FROM --platform=$BUILDPLATFORM`), or download its wheels with `pip download --platform … --only-binary=:all:`";
                checks.add(Code::WrongWheel, severity, path, reason, repair.to_owned());
            }
            Some(FileFacts::Plain) if path.ends_with(".whl") => {
                let name = path.rsplit('/').next().unwrap_or(path);
                let Some(tags) = wheel::tags_of_file_name(name) else {
                    continue;
                };
                if let Some(reason) = wheel::mismatch(&tags, target, libc) {
                    let repair =
                        "build wheels in a stage of the target platform: `pip install --no-index` refuses this one";
                    checks.add(Code::WrongWheel, Severity::Warning, path, reason, repair.to_owned());
                }
            }
            _ => {}
        }
    }
}
