//! A step whose inputs are done: matched once more, by definition and by content, then run, and its record kept.

use std::sync::Arc;
use std::time::Instant;

use kiln_graph::{Event, Hit, MissReason, Outcome, Vertex};
use kiln_store::{CacheKey, CacheRecord, KeyPart};

use crate::driver::{Output, matched};
use crate::key::{InputKey, NamedInput, cache_key, concealed, fresh_key, key_parts};
use crate::reason::{Parent, explain};
use crate::schedule::{Shape, Turn};
use crate::{Found, Input, Selection, StepContext, Worker};

/// One input of a step that is about to run.
pub(crate) struct StepInput {
    pub(crate) input: Input,
    pub(crate) vertex: Arc<Vertex>,
    /// Why it ran, if it did.
    pub(crate) reason: Option<MissReason>,
    /// None for a context.
    pub(crate) key: Option<CacheKey>,
    pub(crate) selection: Option<Selection>,
    pub(crate) name: String,
}

/// A step whose inputs are done: matched once more, then run.
pub(crate) struct Step<W: Worker> {
    pub(crate) vertex: Arc<Vertex>,
    pub(crate) inputs: Vec<StepInput>,
    pub(crate) provisional: Option<CacheKey>,
    pub(crate) worker: Arc<W>,
    pub(crate) context: StepContext,
    pub(crate) turn: Turn,
    pub(crate) shape: Arc<Shape>,
}

impl<W: Worker> Step<W> {
    pub(crate) async fn run(mut self) -> Result<Output, W::Error> {
        let started = Instant::now();
        let result = self.match_or_execute().await;
        let outcome = match &result {
            Ok((_, outcome)) => outcome.clone(),
            Err(_) if self.context.cancel.is_cancelled() => Outcome::Cancelled,
            Err(error) => Outcome::Failed(error.to_string()),
        };
        if result.is_err() {
            self.turn.close();
        }
        let duration = started.elapsed();
        self.context.events.send(Event::StepFinished {
            vertex: self.vertex.id.clone(),
            outcome,
            duration,
        });
        result.map(|(output, _)| output)
    }

    async fn match_or_execute(&mut self) -> Result<(Output, Outcome), W::Error> {
        let definition = self.key();
        for at in 0..self.inputs.len() {
            if self.inputs[at].selection.is_none() {
                self.inputs[at].selection = self.worker.select(&self.vertex, at, &self.inputs[at].input).await?;
            }
        }
        let content = self.key();
        if !self.vertex.meta.ignore_cache {
            for (key, hit) in [(&definition, Hit::Definition), (&content, Hit::Content)] {
                if Some(key) != self.provisional.as_ref()
                    && let Some(found) = self.worker.lookup(key).await?
                {
                    return self.found(hit, found, [definition.clone(), content.clone()]).await;
                }
            }
        }
        let stopped = self.context.cancel.clone();
        tokio::select! {
            biased;
            () = stopped.cancelled() => return Ok((Output::Stopped, Outcome::Cancelled)),
            granted = self.turn.wait(&self.shape, &*self.worker) => granted?,
        }
        let _lock = self.worker.lock(&content).await?;
        if !self.vertex.meta.ignore_cache
            && let Some(found) = self.worker.lookup(&content).await?
        {
            return self.found(Hit::Concurrent, found, [definition, content]).await;
        }
        let output = self.execute(definition, content).await?;
        Ok((output, Outcome::Done))
    }

    /// The key as far as selections are known now.
    fn key(&self) -> CacheKey {
        let inputs: Vec<InputKey> = self
            .inputs
            .iter()
            .filter_map(|input| match (&input.selection, &input.key) {
                (Some(selection), _) => Some(InputKey::Content(selection.digest.clone())),
                (None, Some(key)) => Some(InputKey::Key(key.clone())),
                (None, None) => None,
            })
            .collect();
        cache_key(&self.vertex, &inputs)
    }

    async fn found(&self, hit: Hit, found: Found, keys: [CacheKey; 2]) -> Result<(Output, Outcome), W::Error> {
        self.context.events.send(matched(&self.vertex.id, hit, Some(&found)));
        let mut record = found.record;
        let is_placed = !record.slot.is_empty();
        if !is_placed {
            record.slot = self.vertex.meta.slot.clone();
            record.parts = self.parts();
        }
        let output = Output::Ran {
            root: record.layers.clone().into(),
            canonical: record.key.clone(),
            reason: None,
        };
        let aliases = self.aliases(&record.key, keys);
        if !aliases.is_empty() || !is_placed {
            self.worker.save(record, aliases).await?;
        }
        Ok((output, Outcome::Cached))
    }

    fn aliases(&self, canonical: &CacheKey, keys: [CacheKey; 2]) -> Vec<CacheKey> {
        let mut aliases: Vec<CacheKey> = keys.into_iter().chain(self.provisional.clone()).collect();
        aliases.sort();
        aliases.dedup();
        aliases.retain(|alias| alias != canonical);
        aliases
    }

    async fn execute(&self, definition: CacheKey, content: CacheKey) -> Result<Output, W::Error> {
        let parts = self.parts();
        let parents: Vec<Parent> = self.inputs.iter().map(StepInput::parent).collect();
        let keys = [&definition, &content];
        let reason = explain(&*self.worker, &self.vertex, &parts, &keys, &parents).await?;
        self.context.events.send(Event::StepStarted {
            vertex: self.vertex.id.clone(),
            emulated: self.worker.is_emulated(&self.vertex),
            reason: Some(reason.clone()),
        });
        let started = Instant::now();
        let inputs: Vec<Input> = self.inputs.iter().map(|input| input.input.clone()).collect();
        let root = self.worker.execute(&self.vertex, &inputs, &self.context).await?;
        let canonical = if self.vertex.meta.ignore_cache {
            fresh_key(&content, &root)
        } else {
            content.clone()
        };
        let record = CacheRecord {
            key: canonical.clone(),
            layers: root.to_vec(),
            slot: self.vertex.meta.slot.clone(),
            parts,
            created_unix: unix_now(),
            duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            platform: self.vertex.meta.platform.as_ref().map(ToString::to_string),
            name: self.vertex.meta.name.clone(),
        };
        self.worker
            .save(record, self.aliases(&canonical, [definition, content]))
            .await?;
        Ok(Output::Ran {
            root,
            canonical,
            reason: Some(reason),
        })
    }

    fn parts(&self) -> Vec<KeyPart> {
        let inputs = self.inputs.iter().enumerate();
        let named = inputs.map(|(at, input)| {
            let key = input.key.as_ref().map(ToString::to_string).unwrap_or_default();
            NamedInput::new(
                &self.vertex,
                at,
                &input.vertex,
                &input.name,
                input.selection.as_ref(),
                key,
            )
        });
        concealed(&*self.worker, key_parts(&self.vertex, &named.collect::<Vec<_>>()))
    }
}

impl StepInput {
    fn parent(&self) -> Parent {
        Parent {
            vertex: self.vertex.id.clone(),
            name: self.vertex.meta.name.clone(),
            reason: self.reason.clone(),
        }
    }
}

fn unix_now() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
