package org.speechpress.core

/**
 * One live stream: pieces of any size go in, frames come out as soon as their chunk is full. The samples are at the
 * model's own rate. A stream is used from one thread at a time.
 */
class StreamingExtractor(private val engine: Engine) {
    val spec: StreamSpec = engine.spec
    private val heads = engine.heads.map { it to decoderOf(it) }
    private val chunk = ChunkBuffer(spec.chunkSamples)
    private var reader = SampleReader()
    private var state: State = emptyMap()
    private var nextFrame = 0L // with which the next chunk starts
    private var endFrame = NO_END
    private var ended = false

    val counts: Counts get() = reader.counts

    init {
        reset()
    }

    /** Forget everything that was heard; the next piece starts a new stream at time 0. */
    fun reset() {
        reader = SampleReader()
        state = engine.initialState()
        check(END in state) { "an engine without the state tensor \"$END\"" }
        nextFrame = spec.firstFrame.toLong()
        endFrame = NO_END
        ended = false
        heads.forEach { (_, decoder) -> decoder.reset() }
        chunk.clear()
        hear(FloatArray(spec.silenceSamples))
    }

    /**
     * Hear the first [count] samples of one piece; the frames that are ready now, often none. Samples that are NaN or
     * infinite count as silence, see [counts]. Throws [SpeechpressException] after [flush].
     */
    fun push(samples: FloatArray, count: Int = samples.size): Frames = open { hear(reader.read(samples, count)) }

    /** The same for PCM of 16 bits, which is scaled by its full scale. */
    fun push(samples: ShortArray, count: Int = samples.size): Frames = open { hear(reader.read(samples, count)) }

    /** End the stream: the frames that are left, those of the last, shorter chunk included. */
    fun flush(): Frames = open {
        ended = true
        endFrame = spec.frames(counts.samples)
        state = state + (END to LongTensor(longArrayOf(1), longArrayOf(endFrame)))
        val out = FrameCollector(spec)
        while (nextFrame < endFrame) {
            chunk.fillWithSilence()
            runChunk(out)
        }
        for ((_, decoder) in heads) out.addEvents(decoder.finish())
        out.frames()
    }

    /**
     * How late an event of each head is at worst after the audio that it is about, without the time to compute: its first
     * event after the first frame, the final one after the last.
     */
    fun latency(): Map<String, Wait> = heads.associate { (head, decoder) ->
        val late = spec.worstAgeMs - spec.ms(spec.hopSamples) + head.delayMs
        head.name to Wait(late + decoder.wait.partialMs, late + decoder.wait.finalMs)
    }

    private inline fun open(run: () -> Frames): Frames {
        if (ended) throw SpeechpressException("this stream was flushed; call reset() before the next one")
        return run()
    }

    private fun hear(piece: FloatArray): Frames {
        val out = FrameCollector(spec)
        var at = 0
        while (at < piece.size) {
            at += chunk.take(piece, at)
            if (chunk.isFull) runChunk(out)
        }
        return out.frames()
    }

    private fun runChunk(out: FrameCollector) {
        val startedNs = System.nanoTime()
        val step = engine.step(chunk.drain(), state)
        val tookMs = (System.nanoTime() - startedNs) / 1e6
        check(step.frames.size == spec.chunkFrames * spec.width) { "a step gave ${step.frames.size} numbers" }
        state = step.state
        out.add(step.frames, nextFrame, row(0), row(endFrame), tookMs)
        if (firstTold() < row(endFrame)) for ((head, decoder) in heads) out.addEvents(decode(head, decoder, step))
        nextFrame += spec.chunkFrames
    }

    private fun decode(head: HeadSpec, decoder: Decoder, step: Step): List<Event> {
        val outputs = step.answers[head.name] ?: throw SpeechpressException("the engine gives no outputs of head ${head.name}")
        val (from, to) = firstTold() to row(endFrame)
        val first = nextFrame - spec.lagFrames
        if (head.byChunk) return decoder.step(outputs, first + to)
        return decoder.step(outputs.map { it.slice(from, to) }, first + from)
    }

    /** Heads speak of so long ago as frames do, and never of before the stream. */
    private fun firstTold(): Int = maxOf(row(0), row(spec.lagFrames.toLong()))

    private fun row(frame: Long): Int = (frame - nextFrame).coerceIn(0, spec.chunkFrames.toLong()).toInt()
}
