package org.speechpress.core

/**
 * An engine of simple arithmetic with all that a model has: carried audio, frames that wait for a look-ahead, frames that
 * do not exist. tests/test_android.py has the same one in Python; its multiplications are by powers of two, so both give
 * the same bits.
 *
 *     f(p, d) = x[p hop + d] - 0.5 x[p hop + receptive - 1 - d]   if 0 <= p < end, else 0
 *     frame(q, d) = f(q, d) + 0.25 f(q + lookahead, d)            if 0 <= q < end, else NaN
 */
class ToyEngine(override val spec: StreamSpec) : Engine {
    override fun initialState(): State = linkedMapOf(
        "count" to LongTensor(longArrayOf(1), longArrayOf(-spec.leadFrames.toLong())),
        END to LongTensor(longArrayOf(1), longArrayOf(NO_END)),
        "audio" to floats(spec.tailSamples),
        "features" to FloatTensor(longArrayOf(1, spec.lookaheadFrames.toLong(), spec.width.toLong()), newFeatures())
    )

    override fun step(chunk: FloatArray, state: State): Step {
        val count = (state.getValue("count") as LongTensor).values[0]
        val end = (state.getValue(END) as LongTensor).values[0]
        val audio = (state.getValue("audio") as FloatTensor).values + chunk
        val old = (state.getValue("features") as FloatTensor)
        val features = old.values + FloatArray(spec.chunkFrames * spec.width) {
            val frame = it / spec.width
            if (count + frame in 0 until end) feature(audio, frame, it % spec.width) else 0f
        }
        val ahead = spec.lookaheadFrames * spec.width
        val frames = FloatArray(spec.chunkFrames * spec.width) {
            val exists = count - spec.lookaheadFrames + it / spec.width in 0 until end
            if (exists) features[it] + 0.25f * features[it + ahead] else Float.NaN
        }
        val next = linkedMapOf(
            "count" to LongTensor(longArrayOf(1), longArrayOf(count + spec.chunkFrames)),
            END to state.getValue(END),
            "audio" to floats(spec.tailSamples, audio.copyOfRange(chunk.size, audio.size)),
            "features" to FloatTensor(old.shape, features.copyOfRange(frames.size, features.size))
        )
        return Step(frames, next)
    }

    private fun feature(audio: FloatArray, frame: Int, dimension: Int): Float {
        val from = frame * spec.hopSamples
        return audio[from + dimension] - 0.5f * audio[from + spec.receptiveSamples - 1 - dimension]
    }

    private fun newFeatures() = FloatArray(spec.lookaheadFrames * spec.width)

    private fun floats(size: Int, values: FloatArray = FloatArray(size)) = FloatTensor(longArrayOf(1, size.toLong()), values)
}
