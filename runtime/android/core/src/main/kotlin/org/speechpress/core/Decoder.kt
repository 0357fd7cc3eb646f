package org.speechpress.core

/** One output of a head: [count] rows of [width] values, one after the other. */
class Rows(val count: Int, val width: Int, val values: DoubleArray) {
    fun row(index: Int): DoubleArray = values.copyOfRange(index * width, (index + 1) * width)

    /** The rows [from, to). */
    fun slice(from: Int, to: Int) = Rows(to - from, width, values.copyOfRange(from * width, to * width))
}

/**
 * How long a decoder itself waits at worst.
 *
 * @property partialMs from the end of the first frame that an event is about to its first event.
 * @property finalMs from the end of the last one to the event that cannot change.
 */
data class Wait(val partialMs: Double, val finalMs: Double)

/**
 * From the outputs of one head of one stream to events; see docs/answers.md. The memory that it needs does not grow with
 * the stream.
 */
interface Decoder {
    /** Forget everything that was heard. */
    fun reset()

    /**
     * The outputs of the next frames, the first of which has the number [first]; of a head that answers by chunk one row,
     * and [first] is the number of frames that were heard. Throws [SpeechpressException] when they do not fit the head.
     */
    fun step(outputs: List<Rows>, first: Long): List<Event>

    /** The stream has ended: the events that only waited for more. */
    fun finish(): List<Event>

    val wait: Wait
}

// A further kind is a file beside these, and a row.
private val DECODERS: Map<String, (HeadSpec) -> Decoder> = mapOf(
    "classify" to ::ClassifyDecoder,
    "ctc" to ::CtcDecoder,
    "units" to ::UnitsDecoder,
    "speaker" to ::SpeakerDecoder,
    "vad" to ::vadDecoder,
    "segment" to ::segmentDecoder,
    "words" to ::WordsDecoder
)

/** The decoder of a head; throws [SpeechpressException] for an unknown kind, parameter or label. */
fun decoderOf(spec: HeadSpec): Decoder = (DECODERS[spec.kind]
    ?: throw SpeechpressException("head ${spec.name}: there is no decoder for the kind ${spec.kind}; update the app"))(spec)
