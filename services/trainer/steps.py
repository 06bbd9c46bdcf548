"""The steps of a run. Each uses the results in the run's folder, and does nothing if its own exists."""

import logging
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from clickhouse_connect.driver.client import Client
from confluent_kafka.admin import AdminClient
from numpy.typing import NDArray
from psycopg import Connection
from pydantic import ValidationError

from services.common import registry
from services.common.bundle import Arrays, Bundle, open_bundle, reports_in, write_bundle
from services.common.erased import erased_viewers
from services.common.positive_sql import positive_sql
from services.common.registry import ModelVersion, Stage
from services.contracts.bundle import Manifest
from services.contracts.ids import PROBE_USER
from services.contracts.tables import SIGNALS_VIEW
from services.models.loader import load_recommenders
from services.trainer.bundles import publish
from services.trainer.bundles.forget import as_array, bundles_lock, clean
from services.trainer.bundles.without_viewers import without_viewers
from services.trainer.data.catalogue import Catalogue, read_catalogue
from services.trainer.data.dataset import TrainingData, training_data
from services.trainer.data.demographics import Demographics, read_demographics
from services.trainer.data.extract import read_signals, wait_until_complete
from services.trainer.data.shared import shared_arrays
from services.trainer.data.signals import Signals, pivot
from services.trainer.engines import local
from services.trainer.evaluation import evaluate
from services.trainer.evaluation.beside import NEWCOMERS_LIKES, beside_rivals, own_likes_found
from services.trainer.evaluation.drift import profile, stability_index
from services.trainer.evaluation.evaluate import POPULAR_RECENT, manifest_metrics
from services.trainer.evaluation.gate import CHAMPION, SPLIT, STREAMING, Decision, Findings, Size, decide
from services.trainer.evaluation.report import documents, report
from services.trainer.models.recipe import Recipe
from services.trainer.run import Evaluated, Extracted, Published, Run, Trained
from services.trainer.settings import TrainerSettings

log = logging.getLogger(__name__)


class NotEnoughDataError(Exception):
    """There is too little data to train on; the message says how much."""


class GateRefusedError(Exception):
    """The model may not replace the champion; the message says why."""


@dataclass(frozen=True)
class Stores:
    """The clients of the stores."""

    postgres: Connection[Any]
    clickhouse: Client
    kafka: AdminClient


def check(settings: TrainerSettings, stores: Stores) -> dict[str, int]:
    """Check that every store answers; return the amount of training data.

    Raises:
        NotEnoughDataError: the catalogue is empty, or there are too few positives.
        ExtractError: the audit misses events and the consumer does not catch up in time.
    """
    films = len(read_catalogue(stores.postgres).item_ids)
    positives, users, items = stores.clickhouse.query(
        "SELECT count(), uniqExact(user_id), uniqExact(item_id)"  # noqa: S608
        f" FROM (SELECT user_id, item_id FROM {SIGNALS_VIEW} WHERE user_id != {PROBE_USER}"
        f" GROUP BY user_id, item_id HAVING {positive_sql(settings.trainer_confidence)})"
    ).result_rows[0]
    if films == 0:
        raise NotEnoughDataError("not enough data: the catalogue is empty: load the films first")
    if positives < settings.trainer_min_positives:
        raise NotEnoughDataError(
            f"not enough data: {positives} likes and good ratings, {settings.trainer_min_positives} are needed"
        )
    wait_until_complete(stores.clickhouse, stores.kafka, settings.trainer_wait_seconds)
    return {"films": films, "positives": int(positives), "users": int(users), "items": int(items)}


def extract(run: Run, settings: TrainerSettings, stores: Stores) -> Extracted:
    """Copy all signals from ClickHouse into the run's folder.

    The offsets are taken before reading starts: events that arrive meanwhile may be both in the extract and after its
    offsets, which is harmless because the greater version wins.
    """
    done = run.result(Extracted)
    if done is not None:
        return done
    cut = wait_until_complete(stores.clickhouse, stores.kafka, settings.trainer_wait_seconds)
    signals = read_signals(stores.clickhouse)
    # ClickHouse hides the erased viewers it knows; those erased while it was down are only on PostgreSQL's list.
    signals = signals.take(~np.isin(signals.user_id, as_array(erased_viewers(stores.postgres))))
    signals.save(run.extract)
    read_catalogue(stores.postgres).save(run.catalogue)
    read_demographics(stores.postgres, np.unique(signals.user_id)).save(run.demographics)
    result = Extracted(
        signals=len(signals), topic_id=cut.topic_id, offsets=cut.offsets, extracted_at=datetime.now(timezone.utc)
    )
    run.complete(result)
    return result


def train(run: Run, settings: TrainerSettings) -> Trained:
    """Train the models to serve, on all of the extract.

    Raises:
        NotEnoughDataError: there are too few positives.
    """
    done = run.result(Trained)
    if done is not None:
        return done
    run.need(Extracted, "extract")
    recipe = settings.recipe()
    data = _training_data(run, recipe)
    if data.positives < settings.trainer_min_positives:
        raise NotEnoughDataError(
            f"not enough data: {data.positives} positives, {settings.trainer_min_positives} are needed"
        )
    started = time.perf_counter()
    fitted = local.fit(data, recipe, engine=settings.engine(), progress=True)
    seconds = time.perf_counter() - started
    for name, model in fitted.items():
        _save(run.model / name, model.arrays)
    result = Trained(
        recipe=recipe,
        parameters={name: model.parameters for name, model in fitted.items()},
        users=len(data.user_ids),
        items=len(data.item_ids),
        positives=data.positives,
        trained_at=datetime.now(timezone.utc),
        seconds=seconds,
    )
    run.complete(result)
    return result


def measure(run: Run, settings: TrainerSettings, stores: Stores) -> Evaluated:
    """Measure the recipe on the latest part of the extract, beside popularity and the champion's recipe.

    The champion itself was trained on that part, which would leak; so its recipe is trained on the earlier part, as the
    candidate's is.
    """
    done = run.result(Evaluated)
    if done is not None:
        return done
    trained = run.need(Trained, "train")
    candidate = trained.recipe.default_model
    recipes = {candidate: trained.recipe}
    champion = registry.champion(stores.postgres)
    if champion is not None:
        of_champion = registry.manifest_of(stores.postgres, champion.version)
        try:
            recipes[CHAMPION] = Recipe.model_validate(of_champion.parameters["recipe"])
        except ValidationError as error:  # a kind of model, or a parameter, that this release does not have
            log.warning("the champion's recipe cannot be trained, so there is no comparison with it: %s", error)
    part = evaluate.split_by_time(
        pivot(Signals.open(run.extract)),
        settings.trainer_test_share,
        Catalogue.open(run.catalogue),
        Demographics.open(run.demographics),
    )
    evaluation = evaluate.evaluate(
        part, recipes, all_models=True, streamed=evaluate.STREAMED_NIGHTLY, engine=settings.engine(), progress=True
    )
    split = evaluation.split
    later = None
    if evaluation.streaming.moments:
        later = evaluate.delayed(part, evaluation, trained.recipe, candidate, evaluate.NIGHTLY)
    made = report(f"Model {run.version(trained.trained_at)}", evaluation, candidate, later)
    for name, text in documents(made).items():
        (run.folder / name).write_text(text, encoding="utf-8")
    result = Evaluated(
        users=len(split.moments),
        metrics=manifest_metrics(evaluation),
        champion=champion.version if champion else None,
        comparisons={
            SPLIT: beside_rivals(split, candidate),
            STREAMING: beside_rivals(evaluation.streaming, candidate),
        },
        newcomers=beside_rivals(evaluation.streaming, candidate, most_likes=NEWCOMERS_LIKES).get(POPULAR_RECENT),
        leaked=part.leaked,
        same_recipe=recipes.get(CHAMPION) == trained.recipe,
    )
    run.complete(result)
    return result


def publish_bundle(run: Run, settings: TrainerSettings, stores: Stores) -> Published:
    """Write the bundle and register it as a candidate. Viewers who were erased since the extract are left out."""
    done = run.result(Published)
    if done is not None:
        return done
    extracted, trained = run.need(Extracted, "extract"), run.need(Trained, "train")
    evaluated = run.need(Evaluated, "evaluate")
    data = _training_data(run, trained.recipe)
    arrays: Arrays
    genres, arrays = shared_arrays(data, trained.recipe.recent_days)
    models: Mapping[str, Arrays] = {name: _open(run.model / name) for name in trained.recipe.models}
    version = run.version(trained.trained_at)
    known = registry.version_of_run(stores.postgres, run.run_id)
    if known is not None and known.version.startswith(version):
        # An interrupted attempt registered it; since then a copy without erased viewers may have replaced it.
        result = Published(version=known.version)
        run.complete(result)
        return result
    entries = local.entries(trained.recipe, trained.parameters)
    manifest = publish.manifest(
        run.run_id,
        version=version,
        code_revision=settings.code_revision,
        extracted=extracted,
        trained=trained,
        evaluated=evaluated,
        history=data.histories,
        profile=profile(data),
        genres=genres,
        entries=entries,
        canary_lists={
            name: publish.canaries(model, data.histories, data.confidence, data.item_ids, trained.trained_at)
            for name, model in load_recommenders(entries, models, arrays).items()
        },
    )
    viewers = as_array(erased_viewers(stores.postgres))
    manifest, arrays, models = without_viewers(manifest, arrays, models, viewers)
    reports = reports_in(run.folder)
    path = write_bundle(settings.model_dir, manifest, arrays, models, reports)
    if not np.array_equal(open_bundle(path).arrays["user_ids"], arrays["user_ids"]):
        # An attempt interrupted before registration wrote it with viewers who were erased since.
        shutil.rmtree(path)
        path = write_bundle(settings.model_dir, manifest, arrays, models, reports)
    registry.register(stores.postgres, open_bundle(path).manifest)
    result = Published(version=version)
    run.complete(result)
    return result


def promote(run: Run, settings: TrainerSettings, stores: Stores, *, force: bool = False) -> ModelVersion:
    """Promote the run's model if the gate accepts it or ``force`` is given; return its registry row.

    A version that was the champion before and has been replaced since stays where it is: repeating an
    old run must not undo a newer one (`rollback --to` does). A bundle that holds viewers who were erased since it was
    published is replaced by a copy without them first.

    Raises:
        GateRefusedError: the gate refuses; the version is marked as rejected.
        BundleError: the bundle cannot be read back.
    """
    version = run.need(Published, "publish").version
    current = registry.version_of_run(stores.postgres, run.run_id)
    if current is not None and current.stage in (Stage.CHAMPION, Stage.ARCHIVED):
        log.info("already promoted, now %s", current.stage)
        return current
    with bundles_lock(stores.postgres):
        current = registry.version_of_run(stores.postgres, run.run_id)
        version = version if current is None else current.version
        version = clean(settings.model_dir, stores.postgres, version, as_array(erased_viewers(stores.postgres)))
        decision = _decision(run, settings, stores, open_bundle(settings.model_dir / version))
        log.info("the gate's verdict: %s: %s", decision.verdict, decision)
        run.discard_arrays()
        if not decision.promote and not force:
            registry.reject(stores.postgres, version, str(decision))
            raise GateRefusedError(f"the gate refused the model {version}: {decision}")
        prefix = "" if decision.promote else "forced: "
        return registry.promote(stores.postgres, version, f"{prefix}{decision}")


def _training_data(run: Run, recipe: Recipe) -> TrainingData:
    histories = pivot(Signals.open(run.extract))
    demographics = Demographics.open(run.demographics)
    return training_data(histories, recipe.confidence, Catalogue.open(run.catalogue), demographics)


def _decision(run: Run, settings: TrainerSettings, stores: Stores, bundle: Bundle) -> Decision:
    evaluated = run.need(Evaluated, "evaluate")
    champion = registry.champion(stores.postgres)
    before = None if champion is None else registry.manifest_of(stores.postgres, champion.version)
    default, figures = bundle.manifest.default_model, evaluated.metrics
    drift = None
    if before is not None and "profile" in before.parameters:
        drift = stability_index(bundle.manifest.parameters["profile"], before.parameters["profile"])
    return decide(
        Findings(
            comparisons=evaluated.comparisons,
            size=_size(bundle.manifest),
            champion_size=None if before is None else _size(before),
            newcomers=evaluated.newcomers,
            coverage=figures.get(f"{default}_coverage"),
            champion_coverage=figures.get(f"{CHAMPION}_coverage"),
            until=bundle.manifest.data_until,
            champion_until=None if before is None else before.data_until,
            drift=drift,
            leaked=evaluated.leaked,
            served_ndcg=own_likes_found(bundle),
            recipe_ndcg=figures.get(f"{default}_streaming_ndcg"),
            same_recipe=evaluated.same_recipe,
        ),
        settings.trainer_gate,
    )


def _size(manifest: Manifest) -> Size:
    return Size(items=manifest.rows["items"], users=manifest.rows["users"])


def _save(folder: Path, arrays: Arrays) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)


def _open(folder: Path) -> dict[str, NDArray[Any]]:
    return {path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in sorted(folder.glob("*.npy"))}
