package org.speechpress.checks

import java.io.File
import kotlin.math.abs
import org.speechpress.core.Event
import org.speechpress.core.HeadSpec
import org.speechpress.core.Json
import org.speechpress.core.Rows
import org.speechpress.core.decoderOf

private const val LAST_DIGIT = 1.0001e-4 // libraries may round differently at a half

/** Every case of a file of tests/fixtures/answers through its decoder, twice, so that a reset is played too. */
fun playVectors(file: File): List<String> {
    val cases = (Json.parse(file.readText(), file.name) as Json.Obj).members.getValue("cases") as Json.Arr
    return cases.items.map { case ->
        val members = (case as Json.Obj).members
        val spec = specOf((members.getValue("spec") as Json.Obj).members)
        val decoder = decoderOf(spec)
        val told = List(2) {
            decoder.reset()
            play(spec, members) { outputs, first -> if (outputs == null) decoder.finish() else decoder.step(outputs, first) }
        }
        "${(members.getValue("name") as Json.Str).value}: ${told.firstOrNull { it != "ok" } ?: "ok"}"
    }
}

private fun specOf(spec: Map<String, Json>): HeadSpec {
    fun text(name: String) = (spec.getValue(name) as Json.Str).value
    fun number(name: String) = (spec[name] as? Json.Num)?.digits?.toDouble()
    return HeadSpec(
        text("name"), text("kind"), items(spec.getValue("labels")).map { (it as Json.Str).value },
        items(spec.getValue("widths")).map { numberOf(it).toInt() }, number("hop_samples")!!.toInt(),
        number("sample_rate")!!.toInt(), spec.getValue("decoder") as Json.Obj, number("threshold")
    )
}

private fun play(spec: HeadSpec, case: Map<String, Json>, run: (List<Rows>?, Long) -> List<Event>): String {
    val chunks = items(case.getValue("chunks")).map { numberOf(it).toInt() }
    val outputs = (case.getValue("outputs") as Json.Obj).members.values.toList()
    var at = 0
    val told = chunks.mapIndexed { step, frames ->
        val first = at
        at += frames
        val rows = outputs.mapIndexed { index, output ->
            val cut = if (spec.byChunk) items(output).subList(step, step + 1) else items(output).subList(first, at)
            // As float32, which is what a program gives.
            Rows(cut.size, spec.widths[index], cut.flatMap { items(it) }.map { numberOf(it).toFloat().toDouble() }.toDoubleArray())
        }
        run(rows, (if (spec.byChunk) at else first).toLong())
    } + listOf(run(null, 0))
    items(case.getValue("events")).forEachIndexed { step, wanted ->
        val lines = told[step].map { it.toJson() }
        val found = Json.parse("[${lines.joinToString()}]", "events")
        if (!same(wanted, found)) return "step $step must be ${wanted.canonical()} but is ${found.canonical()}"
    }
    return "ok"
}

private fun same(wanted: Json, found: Json): Boolean = when {
    wanted is Json.Num && found is Json.Num -> abs(numberOf(wanted) - numberOf(found)) <= LAST_DIGIT
    wanted is Json.Arr && found is Json.Arr ->
        wanted.items.size == found.items.size && wanted.items.zip(found.items).all { (one, two) -> same(one, two) }
    wanted is Json.Obj && found is Json.Obj ->
        wanted.members.keys == found.members.keys &&
            wanted.members.all { (key, value) -> same(value, found.members.getValue(key)) }
    else -> wanted == found
}

private fun items(json: Json): List<Json> = (json as Json.Arr).items

private fun numberOf(json: Json): Double = (json as Json.Num).digits.toDouble()
