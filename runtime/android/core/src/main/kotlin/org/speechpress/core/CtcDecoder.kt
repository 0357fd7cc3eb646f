package org.speechpress.core

private const val BLANK = 0

/** Labels over time by CTC: the best label of each frame, or a search over prefixes. */
internal class CtcDecoder(private val spec: HeadSpec) : Decoder {
    private val greedy: Boolean
    private val waitFrames: Long
    private val runs: Runs
    private val search: BeamSearch

    init {
        checkLabels(spec, 2)
        checkThreshold(spec)
        val parameters = Parameters(spec)
        greedy = parameters.choice("method", "greedy", "beam") == "greedy"
        val beam = parameters.whole("beam", 8, 1, 100)
        val least = parameters.number("least", 0.001, 0.0, 1.0)
        waitFrames = toFrames(spec, parameters.number("wait_s", 1.0, 0.0, 60.0, above = true), 1)
        parameters.done()
        runs = Runs(spec, BLANK, merge = true, name = { spec.labels[it] }, score = { it })
        search = BeamSearch(spec, beam, least, waitFrames)
    }

    override val wait get() = Wait(0.0, spec.ms(if (greedy) 1 else waitFrames + 1))

    override fun reset() {
        runs.reset()
        search.reset()
    }

    override fun step(outputs: List<Rows>, first: Long): List<Event> {
        checkOutputs(spec, outputs)
        val events = ArrayList<Event>()
        if (outputs[0].count == 0) return events
        for (index in 0 until outputs[0].count) {
            val row = outputs[0].row(index)
            val p = softmax(row)
            val best = bestOf(row)
            if (greedy) runs.hear(best, p[best], events) else search.hear(p, events)
        }
        if (greedy) runs.pause(events) else search.pause(events)
        return events
    }

    override fun finish(): List<Event> = if (greedy) ArrayList<Event>().also(runs::close) else search.finish()
}
