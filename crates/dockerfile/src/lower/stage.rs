//! One stage: its base, then its instructions in order.

use std::cell::RefCell;
use std::collections::BTreeSet;

use kiln_graph::{ImageOrigin, Op, SourceLines, VertexId, VertexMeta};
use kiln_oci::{ImageConfig, Platform, Reference};

use crate::Lines;
use crate::diagnostic::SyntaxError;
use crate::directive::{Promise, promises};
use crate::expand::{Expanded, Expander};
use crate::instruction::{Instruction, Kind, parse_onbuild};
use crate::lint::{Place, Rule, check_from_args, check_from_platform};
use crate::lower::args::GlobalArgs;
use crate::lower::file_at;
use crate::lower::noarch::makes_layer;
use crate::lower::outline::StageOutline;
use crate::lower::{Env, Lowerer, architecture, history, set, workdir};
use crate::plan::{BuiltContext, NamedContext, Need, NoCache};
use crate::stage::Stage;
use crate::suggestion::{nearest, suggested};

/// A stage that is lowered.
#[derive(Debug, Clone)]
pub(super) struct Lowered {
    pub(super) vertex: VertexId,
    pub(super) config: ImageConfig,
    pub(super) platform: Platform,
    /// The arguments that stages built on it inherit.
    args: Vec<(String, Option<String>)>,
    /// The variables that its last step saw.
    env: Env,
    /// Those of them whose values differ between platforms.
    differing: BTreeSet<String>,
    /// Whether a WORKDIR of this file set the working directory.
    pub(super) workdir_set: bool,
}

/// A stage that is being lowered.
pub(super) struct Builder {
    pub(super) number: usize,
    /// The platform that the image is for, which the stage's own may differ from.
    pub(super) target_platform: Platform,
    pub(super) platform: Platform,
    pub(super) vertex: VertexId,
    pub(super) config: ImageConfig,
    /// Declared arguments with their values, in order; None is unset.
    pub(super) args: Vec<(String, Option<String>)>,
    /// What words are expanded with and steps see: ARG and ENV, the later one of a name.
    pub(super) env: Env,
    /// Variables whose values are made of what differs between platforms.
    pub(super) differing: BTreeSet<String>,
    /// Whether the instruction that is being lowered is for every platform.
    pub(super) noarch: bool,
    pub(super) globals: GlobalArgs,
    pub(super) steps: (usize, usize),
    pub(super) ignore_cache: bool,
    pub(super) cmd_set: bool,
    pub(super) workdir_set: bool,
    /// Instructions of which only the last counts.
    pub(super) used: Used,
    /// Variables that were used without being defined, with what was probably meant.
    undefined: RefCell<Vec<(String, Option<String>)>>,
    pub(super) outline: StageOutline,
    pub(super) lines: Lines,
}

/// Where instructions stand of which only the last one of a stage counts.
#[derive(Debug, Default)]
pub(super) struct Used {
    pub(super) cmd: Option<(Lines, Vec<String>)>,
    pub(super) entrypoint: Option<(Lines, Vec<String>)>,
    pub(super) health_check: Option<(Lines, Vec<String>)>,
}

/// What an instruction takes files from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FileOrigin {
    Vertex(VertexId),
    /// An image that it needs is not resolved yet.
    Pending,
}

/// Names that are misspelt often, as many files begin with them.
const COMMON_IMAGES: [&str; 7] = ["alpine", "busybox", "centos", "debian", "golang", "ubuntu", "fedora"];

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Lowerer<'_> {
    /// Lowers a stage for a target platform. None: an image that it needs is not resolved yet.
    pub(super) fn stage(&mut self, number: usize, target: &Platform) -> Result<Option<Lowered>, SyntaxError> {
        let key = (number, target.clone());
        if let Some(known) = self.stages.get(&key) {
            return Ok(known.clone());
        }
        let stage = &self.dockerfile.stages[number];
        if self.in_progress.contains(&key) {
            let name = stage.from.name.clone().unwrap_or_else(|| number.to_string());
            return Err(SyntaxError::new(format!("circular dependency detected on stage: {name}")).at(stage.lines));
        }
        self.in_progress.push(key.clone());
        let lowered = self
            .lower_stage(number, target, None)
            .map_err(|error| error.at(stage.lines));
        self.in_progress.pop();
        let lowered = lowered?;
        self.stages.insert(key, lowered.clone());
        Ok(lowered)
    }

    /// Every FROM must make sense, whether the target needs its stage or not.
    pub(super) fn check_bases(&mut self) -> Result<(), SyntaxError> {
        let Some(target) = self.request.platforms.first() else {
            return Ok(());
        };
        let globals = self.global_args(target)?;
        for (number, stage) in self.dockerfile.stages.iter().enumerate() {
            let mut outline = StageOutline::default();
            let at = |error: SyntaxError| error.at(stage.lines);
            let base = self.base_name(number, &globals, &mut outline).map_err(at)?;
            if let Some(written) = &stage.from.platform {
                self.stage_platform(number, written, &globals, &mut outline)
                    .map_err(at)?;
            }
            if base != "scratch" && self.earlier_stage(&base, number).is_none() {
                base_reference(&base).map_err(at)?;
            }
        }
        Ok(())
    }

    /// The stage as far as the instruction `last`, if one is given.
    pub(super) fn lower_stage(
        &mut self,
        number: usize,
        target: &Platform,
        last: Option<usize>,
    ) -> Result<Option<Lowered>, SyntaxError> {
        let stage = &self.dockerfile.stages[number];
        let globals = self.global_args(target)?;
        let mut outline = StageOutline::new(globals.definitions.clone());
        let base = self.base_name(number, &globals, &mut outline)?;
        let platform = match &stage.from.platform {
            None => target.clone(),
            Some(written) => self.stage_platform(number, written, &globals, &mut outline)?,
        };
        if let Some(name) = &stage.from.name
            && self.context(name, &platform).is_some()
        {
            return self.replaced_stage(name, number, target, platform);
        }
        if let Some(earlier) = self.earlier_stage(&base, number) {
            outline.take_from(earlier);
        }
        let Some((vertex, mut config, from_image, platform)) = self.base(&base, number, target, platform)? else {
            return Ok(None);
        };
        let parent = self
            .earlier_stage(&base, number)
            .and_then(|earlier| self.stages.get(&(earlier, target.clone())).cloned().flatten());
        config.created = Some(history::timestamp(self.request.time));
        let name = stage.from.name.clone();
        let ignore_cache = match &self.request.no_cache {
            NoCache::No => false,
            NoCache::All => true,
            NoCache::Stages(stages) => {
                name.as_ref().is_some_and(|name| stages.contains(name)) || stages.contains(&number.to_string())
            }
        };
        let triggers = if from_image {
            std::mem::take(&mut config.config.on_build)
        } else {
            Vec::new()
        };
        let count = 1
            + stage
                .instructions
                .iter()
                .filter(|instruction| makes_vertex(&instruction.kind))
                .count()
            + triggers.len();
        let mut env = parent.as_ref().map(|parent| parent.env.clone()).unwrap_or_default();
        for (name, value) in variables(&config) {
            set(&mut env, &name, &value);
        }
        if !config.config.working_dir.is_empty() {
            config.config.working_dir = workdir(&config.os, "", &config.config.working_dir)?;
        }
        let mut builder = Builder {
            number,
            target_platform: target.clone(),
            platform,
            vertex,
            config,
            args: parent.as_ref().map(|parent| parent.args.clone()).unwrap_or_default(),
            env,
            differing: parent
                .as_ref()
                .map(|parent| parent.differing.clone())
                .unwrap_or_default(),
            noarch: false,
            globals,
            steps: (1, count),
            ignore_cache,
            cmd_set: false,
            workdir_set: parent.is_some_and(|parent| parent.workdir_set),
            used: Used::default(),
            undefined: RefCell::default(),
            outline,
            lines: stage.lines,
        };
        for trigger in triggers {
            let mut instruction = parse_onbuild(&trigger)
                .map_err(|error| SyntaxError::new(format!("ONBUILD trigger `{trigger}` of the base image: {error}")))?;
            instruction.lines = stage.lines;
            if !self.instruction(&mut builder, &instruction)? {
                return Ok(None);
            }
        }
        for (position, instruction) in stage.instructions.iter().enumerate() {
            let promised = promises(&instruction.comments).any(|promise| promise == Promise::Noarch);
            let done = if promised && makes_layer(&instruction.kind) {
                self.noarch(&mut builder, position, instruction)
            } else {
                self.instruction(&mut builder, instruction)
            };
            if !done.map_err(|error| error.at(instruction.lines))? {
                return Ok(None);
            }
            if last == Some(position) {
                break;
            }
        }
        if last.is_none() {
            self.outlines.entry(number).or_insert(builder.outline);
        }
        Ok(Some(Lowered {
            vertex: builder.vertex,
            config: builder.config,
            platform: builder.platform,
            args: builder.args,
            env: builder.env,
            differing: builder.differing,
            workdir_set: builder.workdir_set,
        }))
    }

    /// A stage whose name is that of a named context is the context, whatever its instructions say.
    fn replaced_stage(
        &mut self,
        name: &str,
        number: usize,
        target: &Platform,
        platform: Platform,
    ) -> Result<Option<Lowered>, SyntaxError> {
        let Some((vertex, config, _, platform)) = self.base(name, number, target, platform)? else {
            return Ok(None);
        };
        let env = variables(&config);
        Ok(Some(Lowered {
            vertex,
            config,
            platform,
            args: Vec::new(),
            env,
            differing: BTreeSet::new(),
            workdir_set: false,
        }))
    }

    /// The base's name after expansion.
    fn base_name(
        &mut self,
        number: usize,
        globals: &GlobalArgs,
        outline: &mut StageOutline,
    ) -> Result<String, SyntaxError> {
        let stage = &self.dockerfile.stages[number];
        let expanded = self.expanded_from(stage, &stage.from.base, globals, outline)?;
        if expanded.text.is_empty() {
            let message = format!("base name ({}) should not be blank", stage.from.base);
            return Err(SyntaxError::new(message).hint("give the argument a default before FROM"));
        }
        Ok(expanded.text)
    }

    fn stage_platform(
        &mut self,
        number: usize,
        written: &str,
        globals: &GlobalArgs,
        outline: &mut StageOutline,
    ) -> Result<Platform, SyntaxError> {
        let stage = &self.dockerfile.stages[number];
        let expanded = self.expanded_from(stage, written, globals, outline)?;
        let target = globals.value("TARGETPLATFORM").unwrap_or_default();
        check_from_platform(self.linter, stage, written, &expanded, &target);
        let names = globals.names();
        let meant = expanded
            .unmatched
            .iter()
            .find_map(|name| suggested(name, names.iter().map(String::as_str)));
        let meant = meant.map(|name| format!(" (did you mean {name}?)")).unwrap_or_default();
        if expanded.text.is_empty() {
            return Err(SyntaxError::new(format!(
                "empty platform value from expression {written}{meant}"
            )));
        }
        let parsed = expanded.text.parse();
        parsed.map_err(|error| SyntaxError::new(format!("failed to parse platform {}: {error}{meant}", expanded.text)))
    }

    /// A word of FROM, expanded with the global arguments.
    fn expanded_from(
        &mut self,
        stage: &Stage,
        text: &str,
        globals: &GlobalArgs,
        outline: &mut StageOutline,
    ) -> Result<Expanded, SyntaxError> {
        let expanded = self.expander().expand(text, &|name: &str| globals.value(name));
        let expanded = expanded.map_err(|error| SyntaxError::new(error.to_string()))?;
        check_from_args(self.linter, stage.place(), &expanded, &globals.names());
        for name in &expanded.matched {
            self.check_extension(name, stage.place());
        }
        outline.use_args(&expanded.matched);
        Ok(expanded)
    }

    /// An argument that other builders do not know.
    pub(super) fn check_extension(&mut self, name: &str, place: Place<'_>) {
        if architecture::is_extension(name) {
            let detail = format!("`{name}` is an extension of Kiln: other builders leave it empty");
            let repair = "where other builders must build it too, choose by `case $TARGETARCH in …`".to_owned();
            self.linter.add(Rule::KilnExtension, place, detail, Some(repair));
        }
    }

    /// What the image of a FROM is for, against what the stage is for.
    fn check_base(&mut self, reference: &Reference, platform: &Platform, place: Place<'_>) {
        let origin = &ImageOrigin::Registry;
        let Some(image) = self.resolved.find(reference, origin, platform) else {
            return;
        };
        let (os, architecture) = (&image.config.os, &image.config.architecture);
        if !architecture.is_empty() && (os, architecture) != (&platform.os, &platform.architecture) {
            let detail = format!(
                "Base image {reference} was pulled with platform \"{os}/{architecture}\", expected \"{platform}\" for current build"
            );
            self.linter.report(Rule::InvalidBaseImagePlatform, place, detail);
        }
        let several = self.request.platforms.len() > 1 || self.request.every_stage;
        if several && reference.digest().is_some() && image.source.manifest.as_ref() == reference.digest() {
            let detail = format!("the digest of `{reference}` is that of the image for {os}/{architecture} alone");
            let repair = "pin the digest of the image index instead: `kiln inspect` shows it";
            self.linter
                .add(Rule::SinglePlatformPin, place, detail, Some(repair.into()));
        }
    }

    /// The stage before `number` that a base names.
    fn earlier_stage(&self, base: &str, number: usize) -> Option<usize> {
        self.dockerfile
            .stage(base, number)
            .filter(|_| base.parse::<usize>().is_err())
    }

    /// The root that a stage begins with: a named context, an earlier stage, nothing, or an image. Whether it is
    /// an image, and the platform that holds from here.
    fn base(
        &mut self,
        base: &str,
        number: usize,
        target: &Platform,
        platform: Platform,
    ) -> Result<Option<(VertexId, ImageConfig, bool, Platform)>, SyntaxError> {
        let stage = &self.dockerfile.stages[number];
        // A context in the place of a stage is of the platform that the stage is pinned to: the stage finds it.
        let earlier = self.earlier_stage(base, number);
        let context = self.context(base, &platform).filter(|_| earlier.is_none());
        if let Some(context) = context.cloned() {
            return match context {
                NamedContext::Image(reference) => self.image(
                    &reference,
                    &ImageOrigin::Registry,
                    &platform,
                    stage.lines,
                    &stage.original,
                ),
                NamedContext::Layout { path, reference } => self.image(
                    &reference,
                    &ImageOrigin::Layout(path),
                    &platform,
                    stage.lines,
                    &stage.original,
                ),
                NamedContext::Scratch => Ok(Some((self.scratch(), empty_config(&platform), false, platform))),
                NamedContext::Built(built) => self.built(base, &built, &platform).map(Some),
                NamedContext::Local { .. }
                | NamedContext::Http(_)
                | NamedContext::Archive { .. }
                | NamedContext::Git(_) => {
                    // Files alone: an image without a configuration.
                    let files = self.files_of_context(base, &context, &platform)?;
                    let vertex = self.root_of_context(base, &context, files);
                    Ok(Some((vertex, empty_config(&platform), false, platform)))
                }
            };
        }
        if let Some(earlier) = earlier {
            return Ok(self.stage(earlier, target)?.map(|lowered| {
                let on_build = lowered.config.config.on_build.is_empty();
                (lowered.vertex, lowered.config, !on_build, lowered.platform)
            }));
        }
        if base == "scratch" {
            return Ok(Some((self.scratch(), empty_config(&platform), false, platform)));
        }
        let reference = base_reference(base)?;
        self.check_base(&reference, &platform, stage.place());
        self.image(
            &reference,
            &ImageOrigin::Registry,
            &platform,
            stage.lines,
            &stage.original,
        )
    }

    fn image(
        &mut self,
        reference: &Reference,
        origin: &ImageOrigin,
        platform: &Platform,
        lines: Lines,
        text: &str,
    ) -> Result<Option<(VertexId, ImageConfig, bool, Platform)>, SyntaxError> {
        let Some(image) = self.resolved.find(reference, origin, platform) else {
            let need = Need {
                reference: reference.clone(),
                platform: platform.clone(),
                origin: origin.clone(),
                lines,
                text: text.to_owned(),
                meant: nearest(
                    &reference.familiar_name(),
                    self.dockerfile.stage_names().chain(COMMON_IMAGES),
                )
                .map(str::to_owned),
            };
            if !self.needs.contains(&need) {
                self.needs.push(need);
            }
            return Ok(None);
        };
        let meta = VertexMeta {
            name: format!("FROM {reference}"),
            platform: Some(platform.clone()),
            lines: Some(self.source_lines(lines)),
            ..VertexMeta::default()
        };
        let mut config = image.config.clone();
        // What other tools wrote beside the standard's fields belongs to their image, not to this one.
        config.other.clear();
        let vertex = self.graph.add(Op::Image(image.source.clone()), vec![], meta);
        if config.architecture.is_empty() {
            (config.architecture, config.os) = (platform.architecture.clone(), platform.os.clone());
        }
        add_path(&mut config);
        // A base of an older variant of the processor does not change what is built for.
        Ok(Some((vertex, config, true, platform.clone())))
    }

    /// What another Dockerfile of the same build comes to.
    fn built(
        &mut self,
        name: &str,
        built: &BuiltContext,
        platform: &Platform,
    ) -> Result<(VertexId, ImageConfig, bool, Platform), SyntaxError> {
        let Some(image) = built.image(platform) else {
            let platforms: Vec<String> = built.images.iter().map(|image| image.made_for.to_string()).collect();
            let error = SyntaxError::new(format!("the context {name} is not built for {platform}"));
            return Err(error.hint(format!("it is built for {}", platforms.join(", "))));
        };
        let targets: BTreeSet<Platform> = self.request.platforms.iter().cloned().collect();
        let here = self.graph.absorb(&built.graph, |_, meta| {
            meta.targets.retain(|target| targets.contains(target))
        });
        let vertex = here.get(&image.vertex).unwrap_or(&image.vertex).clone();
        Ok((vertex, image.config.clone(), true, image.platform.clone()))
    }

    /// The named context of a name: for the platform alone, or for all.
    pub(super) fn context(&self, name: &str, platform: &Platform) -> Option<&NamedContext> {
        // These two names are the language's own.
        if name.eq_ignore_ascii_case("scratch") || name.eq_ignore_ascii_case("context") {
            return None;
        }
        let contexts = &self.request.contexts;
        let find = |name: &str| {
            contexts
                .get(&format!("{name}::{platform}"))
                .or_else(|| contexts.get(name))
        };
        let lower = name.to_lowercase();
        let full = || {
            Reference::parse_normalized(name)
                .ok()
                .map(|reference| reference.tagged_latest())
        };
        find(&lower).or_else(|| {
            let wanted = full()?;
            let same = |key: &String| {
                Reference::parse_normalized(key).is_ok_and(|reference| reference.tagged_latest() == wanted)
            };
            contexts.iter().find(|(key, _)| same(key)).map(|(_, context)| context)
        })
    }

    fn files_of_context(
        &mut self,
        name: &str,
        context: &NamedContext,
        platform: &Platform,
    ) -> Result<VertexId, SyntaxError> {
        match context {
            NamedContext::Scratch => Ok(self.scratch()),
            NamedContext::Local { ignore } => Ok(self.local(name, ignore.clone())),
            NamedContext::Http(url) => Ok(self.http(file_at(url))),
            NamedContext::Archive { url, directory } => Ok(self.archive(url, directory)),
            NamedContext::Git(git) => Ok(self.git(git.clone())),
            NamedContext::Image(_) | NamedContext::Layout { .. } | NamedContext::Built(_) => {
                Err(SyntaxError::new(format!("context {name} is an image for {platform}")))
            }
        }
    }

    /// What `--from` names: an earlier stage, a named context, or an image.
    pub(super) fn origin(
        &mut self,
        builder: &mut Builder,
        name: &str,
        lines: Lines,
        text: &str,
    ) -> Result<FileOrigin, SyntaxError> {
        let platform = builder.platform.clone();
        // As with FROM, the context in the place of an earlier stage is that stage's to find.
        let is_earlier = self.dockerfile.stage(name, builder.number).is_some();
        let context = self.context(name, &platform).filter(|_| !is_earlier);
        if let Some(context) = context.cloned() {
            let image = match &context {
                NamedContext::Image(reference) => {
                    self.image(reference, &ImageOrigin::Registry, &platform, lines, text)?
                }
                NamedContext::Layout { path, reference } => {
                    self.image(reference, &ImageOrigin::Layout(path.clone()), &platform, lines, text)?
                }
                NamedContext::Built(built) => Some(self.built(name, built, &platform)?),
                files => return self.files_of_context(name, files, &platform).map(FileOrigin::Vertex),
            };
            return Ok(image.map_or(FileOrigin::Pending, |(vertex, ..)| FileOrigin::Vertex(vertex)));
        }
        let all = self.dockerfile.stages.len();
        if let Some(stage) = self.dockerfile.stage(name, all) {
            if stage >= builder.number {
                return Err(self.not_before(name, stage, builder.number));
            }
            builder.outline.take_from(stage);
            let target = builder.target_platform.clone();
            return Ok(self
                .stage(stage, &target)?
                .map_or(FileOrigin::Pending, |lowered| FileOrigin::Vertex(lowered.vertex)));
        }
        if name.parse::<usize>().is_ok() {
            let error = SyntaxError::new(format!("invalid stage index {name}"));
            return Err(error.hint(format!("this Dockerfile has stages 0 to {}", all - 1)));
        }
        let reference = Reference::parse_normalized(name)
            .map_err(|error| SyntaxError::new(format!("invalid from flag value {name}: {error}")))?;
        let image = self.image(
            &reference.tagged_latest(),
            &ImageOrigin::Registry,
            &platform,
            lines,
            text,
        )?;
        Ok(image.map_or(FileOrigin::Pending, |(vertex, ..)| FileOrigin::Vertex(vertex)))
    }

    /// Files are wanted of a stage that does not stand before the one that wants them.
    fn not_before(&self, name: &str, stage: usize, wanting: usize) -> SyntaxError {
        let shown = |number: usize| {
            let name = self.dockerfile.stages[number].from.name.clone();
            name.unwrap_or_else(|| format!("stage-{number}"))
        };
        let error = if stage == wanting {
            SyntaxError::new(format!("circular dependency detected on stage: {}", shown(stage)))
        } else {
            SyntaxError::new(format!(
                "cannot copy from stage {name:?}, it needs to be defined before current stage {:?}",
                shown(wanting)
            ))
        };
        error.hint("a stage can copy from the stages before it")
    }

    pub(super) fn source_lines(&self, lines: Lines) -> SourceLines {
        SourceLines {
            file: self.request.file.clone(),
            start: lines.start,
            end: lines.end,
        }
    }

    /// What is said about the vertex of an instruction.
    pub(super) fn meta(&self, builder: &mut Builder, name: String, lines: Lines) -> VertexMeta {
        builder.steps.0 += 1;
        let stage = &self.dockerfile.stages[builder.number];
        let stage_name = stage
            .from
            .name
            .clone()
            .unwrap_or_else(|| format!("stage-{}", builder.number));
        VertexMeta {
            slot: format!(
                "{} {stage_name} {} {}",
                self.request.file.display(),
                builder.steps.0,
                builder.platform
            ),
            name,
            stage: Some(stage_name),
            step: Some(builder.steps),
            platform: Some(builder.platform.clone()),
            targets: self.wanted_for(&builder.target_platform),
            lines: Some(self.source_lines(lines)),
            ignore_cache: builder.ignore_cache,
            noarch: builder.noarch,
        }
    }

    /// The target platform of a step. None is wanted where the step is made for others, on the build platform.
    fn wanted_for(&self, platform: &Platform) -> BTreeSet<Platform> {
        let wanted = self.request.platforms.contains(platform);
        wanted.then(|| platform.clone()).into_iter().collect()
    }

    /// Carries out one instruction. False: an image that it needs is not resolved yet.
    pub(super) fn instruction(
        &mut self,
        builder: &mut Builder,
        instruction: &Instruction,
    ) -> Result<bool, SyntaxError> {
        builder.lines = instruction.lines;
        let done = match &instruction.kind {
            Kind::Run(run) => self.run(builder, run, instruction),
            Kind::Copy(copy) => self.copy(builder, copy, instruction),
            Kind::Workdir(path) => self.workdir(builder, path, instruction).map(|()| true),
            Kind::From(_) => Err(SyntaxError::new("FROM cannot stand inside a stage")),
            _ => self.configure(builder, instruction).map(|()| true),
        };
        for (name, meant) in builder.undefined.take() {
            let meant = meant
                .map(|meant| format!(" (did you mean ${meant}?)"))
                .unwrap_or_default();
            let detail = format!("Usage of undefined variable '${name}'{meant}");
            self.linter.report(Rule::UndefinedVar, instruction.place(), detail);
        }
        done
    }

    pub(super) fn expander(&self) -> Expander {
        self.dockerfile.expander()
    }
}

impl Builder {
    pub(super) fn expanded(&self, expander: Expander, text: &str) -> Result<Expanded, SyntaxError> {
        let expanded = expander
            .expand(text, self.env.as_slice())
            .map_err(|error| SyntaxError::new(error.to_string()))?;
        self.note_undefined(&expanded);
        Ok(expanded)
    }

    fn note_undefined(&self, expanded: &Expanded) {
        let declared = |name: &String| self.args.iter().any(|(known, _)| known == name);
        let unknown = expanded
            .unmatched
            .iter()
            .filter(|name| !declared(name) && !NEVER_UNDEFINED.contains(&name.as_str()));
        for name in unknown {
            let globals = self.globals.names();
            let known = globals.iter().chain(self.env.iter().map(|(known, _)| known));
            let meant = suggested(name, known.map(String::as_str)).map(str::to_owned);
            self.undefined.borrow_mut().push((name.clone(), meant));
        }
    }
}

/// The variables of a configuration.
pub(super) fn variables(config: &ImageConfig) -> Env {
    let split = |variable: &String| {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        (name.to_owned(), value.to_owned())
    };
    config.config.env.iter().map(split).collect()
}

/// Arguments for scanners, which need no value and are no variables of steps.
pub(super) const NEVER_UNDEFINED: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

fn base_reference(base: &str) -> Result<Reference, SyntaxError> {
    let parsed = Reference::parse_normalized(base);
    let parsed = parsed.map_err(|error| SyntaxError::new(format!("failed to parse stage name {base:?}: {error}")))?;
    Ok(parsed.tagged_latest())
}

fn makes_vertex(kind: &Kind) -> bool {
    matches!(kind, Kind::Run(_) | Kind::Copy(_) | Kind::Workdir(_))
}

fn empty_config(platform: &Platform) -> ImageConfig {
    let mut config = ImageConfig {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: Some(platform.variant.clone()).filter(|variant| !variant.is_empty()),
        ..ImageConfig::default()
    };
    add_path(&mut config);
    config.config.working_dir = "/".into();
    config
}

/// There is always a PATH, but on Windows, which knows where its programs are.
fn add_path(config: &mut ImageConfig) {
    let known = config
        .config
        .env
        .iter()
        .any(|variable| variable.split('=').next() == Some("PATH"));
    if !known && config.os != "windows" {
        config.config.env.push(format!("PATH={DEFAULT_PATH}"));
    }
}
