package org.speechpress.core

/** The state of a stream: tensors by name, in the order in which a program takes them. */
typealias State = Map<String, HostTensor>

/** Name of the state tensor, (1,) int64, that says how many frames the stream makes in all. */
const val END = "end"

/** Something that runs one chunk. It keeps nothing between calls, so one engine serves any number of streams. */
interface Engine {
    val spec: StreamSpec

    /** Whose outputs every step gives. */
    val heads: List<HeadSpec> get() = emptyList()

    /** The state of a stream that has heard nothing. */
    fun initialState(): State

    /** A chunk of `chunkSamples` -> its frames and the state after it. */
    fun step(chunk: FloatArray, state: State): Step
}

/** C x D frames, one after the other, the state after them, and by the names of heads their outputs. */
class Step(val frames: FloatArray, val state: State, val answers: Map<String, List<Rows>> = emptyMap())
