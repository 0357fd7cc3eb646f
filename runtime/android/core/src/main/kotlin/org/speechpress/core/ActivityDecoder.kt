package org.speechpress.core

/** Speech or not. */
internal fun vadDecoder(spec: HeadSpec): Decoder {
    if (spec.widths[0] !in 1..2) spec.fail("has ${spec.widths[0]} columns, but must have one (speech) or two (silence, speech)")
    return ActivityDecoder(spec, listOf("speech"))
}

/** Who speaks: each column is decided by itself. */
internal fun segmentDecoder(spec: HeadSpec): Decoder {
    checkLabels(spec, 1)
    return ActivityDecoder(spec, spec.labels)
}

/** From a probability per frame to stretches: hysteresis, minimum durations, hangover. */
private class ActivityDecoder(private val spec: HeadSpec, private val labels: List<String>) : Decoder {
    /** [sum] is of the frames from [first] to [last], [restSum] of those after it. */
    private class Speech(val first: Long, var sum: Double) {
        var last = first
        var count = 1L
        var restSum = 0.0
        var rest = 0L
        var number = -1L // until it is told
    }

    private val on: Double
    private val off: Double
    private val minSpeech: Long
    private val minSilence: Long
    private val hangover: Long
    private val tracks = arrayOfNulls<Speech>(labels.size)
    private var frames = 0L
    private var number = 0L

    init {
        checkThreshold(spec)
        val parameters = Parameters(spec)
        on = spec.threshold ?: 0.5
        off = on - parameters.number("hysteresis", 0.15, 0.0, 1.0)
        minSpeech = toFrames(spec, parameters.number("min_speech_s", 0.1, 0.0, 60.0), 1)
        minSilence = toFrames(spec, parameters.number("min_silence_s", 0.2, 0.0, 60.0), 1)
        hangover = toFrames(spec, parameters.number("hangover_s", 0.1, 0.0, 60.0))
        parameters.done()
    }

    override val wait get() = Wait(spec.ms(minSpeech - 1), spec.ms(minSilence))

    override fun reset() {
        tracks.fill(null)
        frames = 0
        number = 0
    }

    override fun step(outputs: List<Rows>, first: Long): List<Event> {
        checkOutputs(spec, outputs)
        val events = ArrayList<Event>()
        for (index in 0 until outputs[0].count) {
            val row = outputs[0].row(index)
            for (track in tracks.indices) hear(track, probability(row, track), events)
            frames++
        }
        return events
    }

    override fun finish(): List<Event> = ArrayList<Event>().also { for (track in tracks.indices) close(track, it) }

    private fun probability(row: DoubleArray, track: Int): Double =
        if (spec.kind == "segment" || row.size == 1) sigmoid(row[track]) else softmax(row)[1]

    private fun hear(track: Int, p: Double, events: MutableList<Event>) {
        var speech = tracks[track]
        if (speech == null) {
            if (p < on) return
            speech = Speech(frames, p)
            tracks[track] = speech
        } else if (p >= off) {
            speech.last = frames
            speech.sum = speech.sum + speech.restSum + p
            speech.count += speech.rest + 1
            speech.restSum = 0.0
            speech.rest = 0
        } else {
            speech.restSum += p
            speech.rest++
            if (speech.number < 0 || speech.rest >= minSilence) close(track, events)
            return
        }
        if (speech.number >= 0 || frames - speech.first + 1 < minSpeech) return
        speech.number = number++
        events.add(spec.event(speech.number, labels[track], speech.first, frames, speech.sum / speech.count, false))
    }

    private fun close(track: Int, events: MutableList<Event>) {
        val speech = tracks[track] ?: return
        tracks[track] = null
        if (speech.number < 0) return
        val last = speech.last + minOf(hangover, speech.rest)
        events.add(spec.event(speech.number, labels[track], speech.first, last, speech.sum / speech.count, true))
    }
}
