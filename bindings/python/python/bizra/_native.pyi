"""Types of the native part. What each thing does is said at more length by ``help(bizra)``."""

import asyncio
import os
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Generic,
    Iterable,
    Iterator,
    List,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
    Union,
)

from typing_extensions import Buffer, Self, final

__all__ = [
    "Call",
    "Constitution",
    "EnvelopesPort",
    "ExperienceLedger",
    "FederationPort",
    "GateChain",
    "GateReceipt",
    "GateResult",
    "GatesPort",
    "IHSAN_THRESHOLD",
    "IdentityPort",
    "InferencePort",
    "ModelSelector",
    "ModelTier",
    "NodeId",
    "NodeIdentity",
    "NodePort",
    "PCIEnvelope",
    "PatternMemory",
    "PatternsPort",
    "PreferenceTracker",
    "PreferencesPort",
    "Recollection",
    "SNR_THRESHOLD",
    "StreamPort",
    "TaskComplexity",
    "Verification",
    "__version__",
    "domain_separated_digest",
    "get_ihsan_threshold",
    "get_snr_threshold",
    "start_node",
    "stop_all",
]

_T = TypeVar("_T")

# Bytes: every bytes-like object, and a str as its UTF-8.
_Data = Union[Buffer, str]
_Json = Union[None, bool, int, float, str, bytes, Sequence[Any], Dict[str, Any]]

__version__: str
IHSAN_THRESHOLD: float
SNR_THRESHOLD: float

def get_ihsan_threshold() -> float:
    """The least Ihsan score that the built-in constitution lets pass, 0 to 1."""

def get_snr_threshold() -> float:
    """The least signal-to-noise score that the built-in constitution lets pass, 0 to 1."""

def domain_separated_digest(message: _Data) -> str:
    """BLAKE3 over ``bizra-pci-v1:`` and the message: 64 lower-case hex digits."""

@final
class NodeId:
    """The id of a node: the first 16 bytes of its public key, as 32 lower-case hex digits."""

    def __new__(cls, id: str) -> Self: ...
    @property
    def id(self) -> str:
        """All 32 digits."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __lt__(self, value: NodeId, /) -> bool: ...
    def __le__(self, value: NodeId, /) -> bool: ...
    def __gt__(self, value: NodeId, /) -> bool: ...
    def __ge__(self, value: NodeId, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __getnewargs__(self) -> Tuple[str]: ...

@final
class NodeIdentity:
    """An Ed25519 key pair of its own, which is held in this process and nowhere else."""

    def __new__(cls) -> Self: ...
    @staticmethod
    def from_secret(secret: _Data) -> NodeIdentity:
        """The identity of 32 secret bytes."""

    @staticmethod
    def load(path: Union[str, os.PathLike[str]]) -> NodeIdentity:
        """Reads an identity from a file that nobody else can read."""

    def save(self, path: Union[str, os.PathLike[str]]) -> None:
        """Writes the secret key to a new file of mode 0600; nothing is ever overwritten."""

    @property
    def node_id(self) -> NodeId:
        """The id that its node goes by."""

    @property
    def public_key(self) -> str:
        """The public key, 64 lower-case hex digits."""

    def sign(self, message: _Data) -> str:
        """Signs a message: 128 lower-case hex digits."""

    @staticmethod
    def verify(message: _Data, signature: str, public_key: str) -> bool:
        """Whether the key signed the message; strict, and never raises for bad hex."""

    def secret_bytes(self) -> bytes:
        """The 32 secret bytes."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __copy__(self) -> NodeIdentity: ...
    def __deepcopy__(self, _memo: Any) -> NodeIdentity: ...
    def __reduce__(self) -> Any: ...

@final
class Constitution:
    """Thresholds, rules and how gates are enforced, named by a digest."""

    def __new__(cls, text: Optional[str] = None) -> Self: ...
    @property
    def ihsan_threshold(self) -> float:
        """The least Ihsan score that passes, 0 to 1."""

    @property
    def snr_threshold(self) -> float:
        """The least signal-to-noise score that passes, 0 to 1."""

    @property
    def harm_ceiling(self) -> float:
        """The most harm that passes, 0 to 1."""

    @property
    def text(self) -> str:
        """The document itself, in TOML."""

    @property
    def version(self) -> str:
        """Its version: three numbers with dots."""

    @property
    def digest(self) -> str:
        """The domain-separated digest of its canonical form, 64 hex digits."""

    @property
    def rules(self) -> List[Dict[str, Any]]:
        """Its rules in order."""

    def check_ihsan(self, score: float) -> bool:
        """Whether a score reaches the Ihsan threshold; False for what is no score."""

    def check_snr(self, score: float) -> bool:
        """Whether a score reaches the SNR threshold; False for what is no score."""

    def check(
        self,
        ihsan_score: Optional[float] = None,
        snr_score: Optional[float] = None,
        has_signature: bool = False,
        has_provenance: bool = False,
    ) -> Dict[str, Any]:
        """Judges given facts by the rules: compliant, verdict and checks."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __getnewargs__(self) -> Tuple[Optional[str]]: ...

@final
class PCIEnvelope:
    """A payload, its hash, and a signed header that anybody can check, version "2.0"."""

    @staticmethod
    def create(
        identity: NodeIdentity,
        payload: _Json,
        ttl: int = 3600,
        provenance: Optional[Iterable[Union[PCIEnvelope, Tuple[str, str]]]] = None,
        *,
        audience: Union[NodeId, str, None] = None,
        constitution: Optional[Constitution] = None,
    ) -> PCIEnvelope:
        """Seals a payload: JSON text, or any object that JSON can say. ``ttl`` is 1 to 3600 s."""

    @staticmethod
    def from_json(data: Union[str, bytes, Dict[str, Any]], *, accept_v1: bool = False) -> PCIEnvelope:
        """Reads an envelope. Nothing is proven by that."""

    def verify(
        self,
        *,
        now: Optional[float] = None,
        audience: Union[NodeId, str, None] = None,
        accept_v1: bool = False,
    ) -> Verification:
        """Checks it; ``now`` is in seconds since 1970."""

    @staticmethod
    def verify_json(
        data: _Data,
        *,
        now: Optional[float] = None,
        audience: Union[NodeId, str, None] = None,
        accept_v1: bool = False,
    ) -> Verification:
        """As verify(), of bytes as they came. Never raises for bad data."""

    def to_json(self) -> str:
        """All of it in one line of JSON."""

    def to_dict(self) -> Dict[str, Any]:
        """All of it as a dictionary."""

    @property
    def id(self) -> str:
        """Its id: ``pci_`` and 32 hex digits."""

    @property
    def version(self) -> str:
        """"2.0", or "1.0" for one of the old form."""

    @property
    def sender(self) -> NodeId:
        """Who says to have sent it."""

    @property
    def public_key(self) -> str:
        """The key it is signed with, 64 hex digits."""

    @property
    def timestamp(self) -> str:
        """When it was made, RFC 3339 in UTC."""

    @property
    def ttl(self) -> int:
        """Seconds it is valid from then on."""

    @property
    def audience(self) -> Optional[NodeId]:
        """The only node that may consume it."""

    @property
    def content_hash(self) -> str:
        """Digest of the payload's canonical form, 64 hex digits."""

    @property
    def provenance(self) -> List[Tuple[str, Optional[str]]]:
        """What it was made from: pairs of id and content hash."""

    @property
    def constitution(self) -> Optional[str]:
        """Digest of the constitution it was made under."""

    @property
    def gates(self) -> Optional[Dict[str, Any]]:
        """The receipt of the gates that judged the payload."""

    @property
    def payload(self) -> Optional[str]:
        """The payload in canonical JSON; None if it was withheld."""

    @property
    def signature(self) -> str:
        """The signature, 128 hex digits."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> Tuple[Any, Tuple[str]]: ...
    @staticmethod
    def _from_pickle(json: str) -> PCIEnvelope: ...

@final
class Verification:
    """What the checks of an envelope found. True if it is valid."""

    @property
    def valid(self) -> bool:
        """Whether every check held."""

    @property
    def code(self) -> Optional[str]:
        """The reject code of the check that failed; None when valid."""

    @property
    def error(self) -> Optional[str]:
        """Why it is not valid; None when valid."""

    @property
    def checks(self) -> List[Tuple[str, bool, Optional[str]]]:
        """The checks in order, up to the first that failed: (name, passed, detail)."""

    def to_dict(self) -> Dict[str, Any]:
        """All of it as a dictionary, as the HTTP interface answers it."""

    def __bool__(self) -> bool: ...

@final
class GateResult(Sequence[Any]):
    """What one gate said. Unpacks and compares as the triple (gate, passed, code)."""

    @property
    def gate(self) -> str:
        """Its name: Schema, Signature, Rate, Harm, Ihsan, SNR or FATE."""

    @property
    def passed(self) -> bool:
        """Whether its condition was found to hold."""

    @property
    def code(self) -> str:
        """ "Success", a reject code, or "Unavailable"."""

    @property
    def score(self) -> Optional[float]:
        """The score judged, 0 to 1."""

    @property
    def threshold(self) -> Optional[float]:
        """What the score is held against, 0 to 1."""

    @property
    def source(self) -> str:
        """Who vouches for the score: measured, attested, claimed, or unavailable."""

    @property
    def enforcement(self) -> str:
        """What a failure means: strict, advisory or monitoring."""

    @property
    def evidence(self) -> Union[Dict[str, Any], str, None]:
        """What the judgement rests on. Never holds content."""

    def __len__(self) -> int: ...
    def __getitem__(self, key: Any, /) -> Any: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class GateReceipt:
    """What a run of gates leaves behind. True if no strict gate refused."""

    @property
    def passed(self) -> bool:
        """Whether no strict gate refused."""

    @property
    def code(self) -> Optional[str]:
        """The reject code of the strict gate that refused."""

    @property
    def reason(self) -> Optional[str]:
        """Why it did not pass, in words."""

    @property
    def warnings(self) -> List[str]:
        """What advisory gates found wrong, in words."""

    @property
    def profile(self) -> str:
        """The profile that was run."""

    @property
    def results(self) -> List[GateResult]:
        """What each gate said, in order."""

    @property
    def constitution_digest(self) -> str:
        """Digest of the constitution it was judged under, 64 hex digits."""

    @property
    def input_hash(self) -> str:
        """Digest of the content, 64 hex digits."""

    def to_dict(self) -> Dict[str, Any]:
        """All of it as a dictionary, as it goes into an envelope: no content."""

    def __bool__(self) -> bool: ...

@final
class GateChain:
    """Judges content by a constitution, the built-in one unless another is given."""

    def __new__(cls, constitution: Optional[Constitution] = None) -> Self: ...
    def verify(
        self,
        content: _Data,
        snr_score: Optional[float] = None,
        ihsan_score: Optional[float] = None,
        *,
        content_type: str = "json",
        profile: str = "check",
        sources: Optional[List[str]] = None,
    ) -> List[GateResult]:
        """What each gate says of content, up to the first that refuses."""

    def check(
        self,
        content: _Data,
        snr_score: Optional[float] = None,
        ihsan_score: Optional[float] = None,
        *,
        content_type: str = "json",
        profile: str = "check",
        sources: Optional[List[str]] = None,
    ) -> GateReceipt:
        """As verify(), and returns the whole receipt."""

    @staticmethod
    def all_passed(results: Iterable[Union[GateResult, Tuple[str, bool, str]]]) -> bool:
        """Whether no gate refused. Nothing is no pass."""

@final
class TaskComplexity:
    """How hard a prompt is, estimated from its form: Simple, Medium, Complex or Expert."""

    SIMPLE: TaskComplexity
    MEDIUM: TaskComplexity
    COMPLEX: TaskComplexity
    EXPERT: TaskComplexity
    @staticmethod
    def estimate(prompt: str, max_tokens: int = 512) -> TaskComplexity:
        """Estimates how hard a prompt is when at most ``max_tokens`` tokens are to follow."""

    @property
    def level(self) -> str:
        """Its name: Simple, Medium, Complex or Expert."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __lt__(self, value: TaskComplexity, /) -> bool: ...
    def __le__(self, value: TaskComplexity, /) -> bool: ...
    def __gt__(self, value: TaskComplexity, /) -> bool: ...
    def __ge__(self, value: TaskComplexity, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> Any: ...

@final
class ModelTier:
    """Where a model runs: "edge", "local" or "pool"."""

    def __new__(cls, tier: str) -> Self: ...
    @property
    def name(self) -> str:
        """Its name in lower case."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __lt__(self, value: ModelTier, /) -> bool: ...
    def __le__(self, value: ModelTier, /) -> bool: ...
    def __gt__(self, value: ModelTier, /) -> bool: ...
    def __ge__(self, value: ModelTier, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __getnewargs__(self) -> Tuple[str]: ...

@final
class ModelSelector:
    """Says which tier should answer."""

    def __new__(cls) -> Self: ...
    def select_tier(self, complexity: TaskComplexity) -> ModelTier:
        """The tier whose models are large enough."""

    def choose(
        self,
        prompt: str,
        max_tokens: int = 512,
        *,
        latency_sensitive: bool = False,
        available: Optional[List[ModelTier]] = None,
    ) -> Tuple[ModelTier, str]:
        """Chooses a tier among those available, and says why."""

@final
class ExperienceLedger:
    """A bounded, hash-chained record of episodes in memory."""

    def __new__(cls) -> Self: ...
    def commit(
        self,
        context: str,
        graph_hash: str,
        graph_node_count: int,
        actions: Sequence[Tuple[str, str, bool, int]],
        snr_score: float,
        ihsan_score: float,
        snr_ok: bool,
        context_embedding: Optional[Sequence[float]] = None,
        response_summary: Optional[str] = None,
        *,
        timestamp_secs: Optional[int] = None,
    ) -> str:
        """Adds an episode and returns its hash, 64 hex digits."""

    def retrieve(
        self, query_text: str, top_k: int = 5, query_embedding: Optional[Sequence[float]] = None
    ) -> List[Dict[str, Any]]:
        """Finds up to ``top_k`` episodes, the best first."""

    def verify_chain_integrity(self) -> bool:
        """Computes every hash again; False if anything was changed."""

    @property
    def chain_head(self) -> str:
        """The last link of the chain, 64 hex digits; "genesis" before the first."""

    @property
    def next_sequence(self) -> int:
        """The number that the next episode will have."""

    @property
    def distillation_count(self) -> int:
        """How often content was let go."""

    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...

# The ways in to an embedded node. Internal to this package: bizra.Node wraps them.

@final
class Call(Generic[_T]):
    def wait(self) -> _T: ...
    def done(self) -> bool: ...
    def notify(
        self, event_loop: asyncio.AbstractEventLoop, future: asyncio.Future[None]
    ) -> bool: ...
    def take(self) -> _T: ...
    def cancel(self) -> None: ...

@final
class NodePort:
    @property
    def identity(self) -> IdentityPort: ...
    @property
    def gates(self) -> GatesPort: ...
    @property
    def envelopes(self) -> EnvelopesPort: ...
    @property
    def inference(self) -> InferencePort: ...
    @property
    def federation(self) -> FederationPort: ...
    @property
    def patterns(self) -> PatternsPort: ...
    @property
    def preferences(self) -> PreferencesPort: ...
    @property
    def data_dir(self) -> Path: ...
    @property
    def is_temporary(self) -> bool: ...
    @property
    def address(self) -> Optional[Tuple[str, int]]: ...
    @property
    def is_running(self) -> bool: ...
    def actors(self, timeout: Optional[float]) -> Call[List[Dict[str, Any]]]: ...
    def stop_actor(self, name: str, kind: str, timeout: Optional[float]) -> Call[None]: ...
    def stop(self) -> Call[None]: ...

@final
class IdentityPort:
    def sign(
        self, messages: List[_Data], timeout: Optional[float]
    ) -> Call[List[str]]: ...
    def verify(
        self, claims: Sequence[Tuple[_Data, str, str]], timeout: Optional[float]
    ) -> Call[List[Optional[str]]]: ...
    def generate(
        self, label: Optional[str], activate: bool, timeout: Optional[float]
    ) -> Call[Dict[str, Any]]: ...
    def activate(self, node_id: str, timeout: Optional[float]) -> Call[Dict[str, Any]]: ...
    def active(self, timeout: Optional[float]) -> Call[Dict[str, Any]]: ...
    def list(self, timeout: Optional[float]) -> Call[List[Dict[str, Any]]]: ...

@final
class GatesPort:
    def check(
        self,
        contents: List[_Data],
        snr_score: Union[None, float, Sequence[Optional[float]]],
        ihsan_score: Union[None, float, Sequence[Optional[float]]],
        content_type: str,
        profile: str,
        sources: List[str],
        timeout: Optional[float],
    ) -> Call[List[GateReceipt]]: ...
    def constitution(self, timeout: Optional[float]) -> Call[Dict[str, Any]]: ...

@final
class EnvelopesPort:
    def create(
        self,
        payload: str,
        ttl: int,
        provenance: List[Tuple[str, str]],
        audience: Optional[str],
        timeout: Optional[float],
    ) -> Call[PCIEnvelope]: ...
    def verify(
        self, envelopes: List[Union[bytes, str]], timeout: Optional[float]
    ) -> Call[List[Verification]]: ...
    def consume(
        self, envelope: Union[bytes, str], timeout: Optional[float]
    ) -> Call[List[Verification]]: ...
    def get(self, id: str, timeout: Optional[float]) -> Call[Optional[PCIEnvelope]]: ...
    def log(
        self,
        limit: int,
        since_ms: Optional[int],
        after: Optional[str],
        timeout: Optional[float],
    ) -> Call[List[Dict[str, Any]]]: ...

@final
class InferencePort:
    def generate(
        self, prompt: Dict[str, Any], timeout: Optional[float]
    ) -> Call[Dict[str, Any]]: ...
    def stream(self, prompt: Dict[str, Any], timeout: Optional[float]) -> StreamPort: ...
    def models(self, timeout: Optional[float]) -> Call[List[Dict[str, Any]]]: ...
    def tier(
        self,
        prompt: str,
        max_tokens: Optional[int],
        latency_sensitive: bool,
        timeout: Optional[float],
    ) -> Call[Dict[str, Any]]: ...

@final
class StreamPort:
    def next(self) -> Call[Union[str, Dict[str, Any]]]: ...
    def close(self) -> None: ...

@final
class FederationPort:
    def status(self, timeout: Optional[float]) -> Call[Dict[str, Any]]: ...
    def peers(self, timeout: Optional[float]) -> Call[List[Dict[str, Any]]]: ...
    def propose(
        self,
        pattern_id: str,
        pattern_embedding: List[float],
        confidence: float,
        content: Optional[str],
        source_node: Optional[str],
        timeout: Optional[float],
    ) -> Call[Dict[str, Any]]: ...
    def proposal(
        self, id: str, timeout: Optional[float]
    ) -> Call[Optional[Dict[str, Any]]]: ...
    def proposals(
        self, limit: int, after: Optional[str], timeout: Optional[float]
    ) -> Call[List[Dict[str, Any]]]: ...

@final
class PreferencesPort:
    def observe(
        self,
        subject: str,
        kind: str,
        value: str,
        key: Optional[str],
        timeout: Optional[float],
    ) -> Call[Dict[str, Any]]: ...
    def forget(
        self,
        subject: str,
        kind: Optional[str],
        key: Optional[str],
        timeout: Optional[float],
    ) -> Call[int]: ...
    def list(self, subject: str, timeout: Optional[float]) -> Call[List[Dict[str, Any]]]: ...
    def subjects(
        self, limit: int, after: Optional[str], timeout: Optional[float]
    ) -> Call[List[Dict[str, Any]]]: ...
    def apply(
        self, subject: str, system: Optional[str], timeout: Optional[float]
    ) -> Call[Optional[str]]: ...

@final
class PatternsPort:
    def learn(
        self, lessons: List[Dict[str, Any]], timeout: Optional[float]
    ) -> Call[List[Dict[str, Any]]]: ...
    def recall(
        self, asked: Dict[str, Any], timeout: Optional[float]
    ) -> Call[List[Dict[str, Any]]]: ...
    def get(self, id: str, timeout: Optional[float]) -> Call[Optional[Dict[str, Any]]]: ...
    def list(
        self, limit: int, after: Optional[str], timeout: Optional[float]
    ) -> Call[List[Dict[str, Any]]]: ...
    def stats(self, timeout: Optional[float]) -> Call[Dict[str, Any]]: ...
    def sign_feedback(
        self, id: str, positive: bool, timeout: Optional[float]
    ) -> Call[Tuple[str, int, str]]: ...
    def feedback(
        self,
        id: str,
        positive: bool,
        signed: Optional[Tuple[str, int, str]],
        timeout: Optional[float],
    ) -> Call[Dict[str, Any]]: ...
    def pin(
        self, id: str, is_pinned: bool, timeout: Optional[float]
    ) -> Call[Dict[str, Any]]: ...
    def forget(self, id: str, timeout: Optional[float]) -> Call[None]: ...
    def elevate(self, id: str, timeout: Optional[float]) -> Call[Dict[str, Any]]: ...

def start_node(
    values: Optional[str],
    path: Optional[str],
    data_dir: Optional[str],
    http: bool,
    wake: Callable[[List[asyncio.Future[None]]], None],
) -> Call[NodePort]: ...
def stop_all(seconds: float) -> None: ...

@final
class PreferenceTracker:
    """How somebody likes to be answered, learned by observation, in memory only."""

    def __new__(cls) -> Self: ...
    def observe(self, pref_type: str, key: Optional[str], value: str) -> None:
        """Takes in that a value was chosen."""

    def get_strength(self, pref_type: str, key: Optional[str] = None) -> Optional[str]:
        """The active value, or None while nothing is sure enough."""

    def system_text(self) -> Optional[str]:
        """What a model is told, in sentences of this package; None if nothing is active."""

    def apply_to_prompt(self, prompt: str) -> str:
        """The prompt with what a model is told behind it."""

    def preferences(self) -> List[Dict[str, Any]]:
        """Every value that is known."""

    def forget(self, pref_type: Optional[str] = None, key: Optional[str] = None) -> int:
        """Forgets every value of a place, of a type, or all; returns how many that were."""

    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...

@final
class PatternMemory:
    """Patterns in memory: texts, each with a vector of the caller's own, recalled by likeness."""

    def __new__(cls, node_id: str) -> Self: ...
    def learn(
        self, content: str, embedding: Sequence[float], tags: Optional[Sequence[str]] = None
    ) -> str:
        """Learns a text and returns the id of its pattern, ``pat_`` and 32 hex digits."""

    def recall(
        self,
        embedding: Sequence[float],
        limit: int = 5,
        *,
        min_similarity: Optional[float] = None,
        tags: Optional[Sequence[str]] = None,
    ) -> List[Recollection]:
        """The patterns nearest to a vector, nearest first."""

    def feedback(self, id: str, positive: bool = True) -> float:
        """Says whether a pattern was of use; returns its confidence."""

    def forget(self, id: str) -> None:
        """Forgets a pattern."""

    def pattern_count(self) -> int:
        """How many patterns there are."""

    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...

@final
class Recollection(Sequence[Any]):
    """A pattern that was recalled. Unpacks and compares as the triple (content, confidence, tags)."""

    @property
    def id(self) -> str:
        """The id of the pattern, ``pat_`` and 32 hex digits."""

    @property
    def content(self) -> str:
        """What it says."""

    @property
    def similarity(self) -> float:
        """The cosine of its vector and the one asked for, -1 to 1."""

    @property
    def confidence(self) -> float:
        """How sure it is, 0 to 1."""

    @property
    def tags(self) -> List[str]:
        """What it is about, sorted."""

    def __len__(self) -> int: ...
    def __getitem__(self, key: Any, /) -> Any: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]
