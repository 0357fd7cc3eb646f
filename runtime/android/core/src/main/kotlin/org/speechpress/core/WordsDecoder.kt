package org.speechpress.core

/** Vectors in which an app looks for what it was taught; the head itself tells no event. */
internal class WordsDecoder(private val spec: HeadSpec) : Decoder {
    init {
        Parameters(spec).done()
    }

    override val wait get() = Wait(0.0, 0.0)

    override fun reset() = Unit

    override fun step(outputs: List<Rows>, first: Long): List<Event> {
        checkOutputs(spec, outputs)
        return emptyList()
    }

    override fun finish(): List<Event> = emptyList()
}
