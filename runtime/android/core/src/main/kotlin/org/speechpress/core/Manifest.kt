package org.speechpress.core

import java.security.MessageDigest
import java.util.Locale

const val SCHEMA = 2
const val DOCUMENT = "bundle.json"
const val PROGRAM = "encoder.pte"
const val GOLDEN = "golden.safetensors"

/** Files lie in the bundle's own folder: a name that leads out of it would be written where the app keeps other things. */
private val PLAIN_NAME = Regex("[A-Za-z0-9][A-Za-z0-9._-]*")

class FileFacts(val sha256: String, val sizeBytes: Long)

/** One chunk size: the method that runs it, and how it cuts time. */
class Stream(val method: String, val spec: StreamSpec)

/** A tensor of the state: [initial] is one number, with which it is filled, or as many as it has elements. */
class StateEntry(val name: String, val shape: LongArray, val dtype: String, val initial: List<String>) {
    /** A new tensor, as it is before the first chunk. */
    fun tensor(): HostTensor = when (dtype) {
        "float32" -> FloatTensor(shape, FloatArray(size) { value(it).toFloat() })
        "int64" -> LongTensor(shape, LongArray(size) { value(it).toLong() })
        else -> throw SpeechpressException("$DOCUMENT: state $name is of type $dtype, which this app cannot hold; update it")
    }

    private val size: Int get() = HostTensor.elements(shape).toInt()

    private fun value(index: Int): String = if (initial.size == 1) initial[0] else initial[index]
}

/** What bundle.json says, as far as a device needs it. See docs/bundle.md. */
class Manifest(
    val name: String,
    val digest: String,
    val files: Map<String, FileFacts>,
    val sampleRate: Int,
    val hopSamples: Int,
    val receptiveSamples: Int,
    val width: Int,
    val streams: List<Stream>,
    val state: List<StateEntry>,
    val target: String,
    val backend: String,
    val quantize: String,
    val tolerance: Tolerance,
    val schema: Int = 1,
    val heads: List<HeadSpec> = emptyList()
) {
    /** The stream of chunks of [chunkMs]; the target's own, which stands first, when null. */
    fun stream(chunkMs: Double? = null): Stream {
        if (streams.isEmpty()) {
            throw SpeechpressException(
                "$DOCUMENT: the model \"$name\" does not stream; distil a streaming student and export that one"
            )
        }
        val known = streams.joinToString { "${it.spec.chunkMs}" }
        return streams.firstOrNull { chunkMs == null || it.spec.chunkMs == chunkMs }
            ?: throw SpeechpressException("$DOCUMENT: runs chunks of $known ms, not of $chunkMs ms; export it with --chunk-ms")
    }

    fun initialState(): State = state.associate { it.name to it.tensor() }

    /**
     * Hold the program's own account of itself against this document; [constant] runs a method that takes nothing.
     *
     * Only whole numbers: the Java bindings of ExecuTorch cannot return lists.
     */
    fun checkProgram(constant: (String) -> Long) {
        val expected = mapOf(
            "schema" to schema,
            "sample_rate" to sampleRate,
            "hop_samples" to hopSamples,
            "receptive_samples" to receptiveSamples,
            "width" to width,
            "end_index" to state.indexOfFirst { it.name == END }
        ) + if (streams.isEmpty()) emptyMap() else mapOf("lookahead_frames" to streams[0].spec.lookaheadFrames)
        val ofHeads = if (heads.isEmpty()) emptyMap() else mapOf(HEAD_OUTPUTS to heads.map { it.widths.size }.sum())
        val lag = streams.firstOrNull()?.spec?.lagFrames ?: 0
        val ofLag = if (lag == 0) emptyMap() else mapOf(LAG_FRAMES to lag)
        for ((method, value) in expected + ofHeads + ofLag) {
            val found = constant(method)
            if (found != value.toLong()) {
                throw SpeechpressException(
                    "$PROGRAM: its $method is $found, but $DOCUMENT says $value; they are not of one export, copy both again"
                )
            }
        }
    }
}

/** Read bundle.json: complete, unchanged, and of a schema that this version reads; else [SpeechpressException]. */
fun readManifest(text: String): Manifest {
    val document = Json.parse(text, DOCUMENT) as? Json.Obj
        ?: throw SpeechpressException("$DOCUMENT: holds no object; export the bundle again")
    val fields = Fields(document, DOCUMENT)
    val schema = fields.int("schema")
    if (schema !in 1..SCHEMA) {
        throw SpeechpressException("$DOCUMENT: has schema $schema, but this app reads up to $SCHEMA; update the app")
    }
    if (fields.text("digest") != digestOf(document)) {
        fields.fail("was changed after the export (its digest does not fit)")
    }
    return manifestOf(fields)
}

/** sha256 of the document without its own digest. */
fun digestOf(document: Json.Obj): String =
    hex(sha256().digest(Json.Obj(document.members - "digest").canonical().toByteArray()))

internal fun sha256(): MessageDigest = MessageDigest.getInstance("SHA-256")

internal fun hex(bytes: ByteArray): String = bytes.joinToString("") { String.format(Locale.ROOT, "%02x", it) }

private fun manifestOf(document: Fields): Manifest {
    val audio = document.fields("audio")
    val files = document.fields("files")
    for (name in files.names) if (!PLAIN_NAME.matches(name)) files.fail("names \"$name\", which is not a plain name of a file")
    val width = document.fields("features").positive("width")
    val state = document.list("state").map(::stateEntry)
    if (document.list("streams").isNotEmpty() && state.none { it.name == END }) document.fail("its state has no \"$END\"")
    return Manifest(
        name = document.text("name"),
        digest = document.text("digest"),
        files = files.names.associateWith { fileFacts(files.fields(it)) },
        sampleRate = audio.positive("sample_rate"),
        hopSamples = audio.positive("hop_samples"),
        receptiveSamples = audio.positive("receptive_samples"),
        width = width,
        streams = document.list("streams").map { stream(it, audio, width) },
        state = state,
        target = document.fields("target").text("name"),
        backend = document.fields("target").text("backend"),
        quantize = document.text("quantize"),
        tolerance = tolerance(document.fields("tolerance")),
        schema = document.int("schema"),
        heads = readHeads(document)
    )
}

private fun fileFacts(entry: Fields) = FileFacts(entry.text("sha256"), entry.long("size_bytes"))

private fun stateEntry(entry: Fields): StateEntry {
    val shape = entry.ints("shape").toLongArray()
    val state = StateEntry(entry.text("name"), shape, entry.text("dtype"), entry.numbers("initial"))
    if (state.initial.size != 1 && state.initial.size.toLong() != HostTensor.elements(shape)) {
        entry.fail("has ${state.initial.size} initial values for the shape ${shape.toList()}")
    }
    return state
}

private fun stream(entry: Fields, audio: Fields, width: Int): Stream {
    val spec = StreamSpec(
        chunkFrames = entry.positive("chunk_frames"),
        width = width,
        sampleRate = audio.positive("sample_rate"),
        hopSamples = audio.positive("hop_samples"),
        receptiveSamples = audio.positive("receptive_samples"),
        lookaheadFrames = entry.int("lookahead_frames"),
        lagFrames = if (LAG_FRAMES in entry.names) entry.positive(LAG_FRAMES) else 0
    )
    // These follow from the others; a contradiction means that exporter and app do not cut time in the same way.
    val derived = mapOf(
        "chunk_samples" to spec.chunkSamples, "silence_samples" to spec.silenceSamples, "first_frame" to spec.firstFrame
    )
    for ((name, value) in derived) {
        if (entry.int(name) != value) entry.fail("\"$name\" is ${entry.int(name)}, but must be $value")
    }
    return Stream(entry.text("method"), spec)
}

private fun tolerance(entry: Fields) = Tolerance(
    maxAbs = if ("max_abs" in entry.names) entry.number("max_abs") else null,
    cosine = if ("cosine" in entry.names) entry.number("cosine") else null,
    snrDb = if ("snr_db" in entry.names) entry.number("snr_db") else null
)
