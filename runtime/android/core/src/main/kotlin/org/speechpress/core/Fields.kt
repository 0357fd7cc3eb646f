package org.speechpress.core

/** The members of one JSON object, each read as what it has to be; [where] is for errors, such as `bundle.json: audio`. */
internal class Fields(private val json: Json.Obj, private val where: String) {
    val names: Set<String> get() = json.members.keys

    fun text(name: String): String = (value(name) as? Json.Str ?: wrong(name, "a text")).value

    fun long(name: String): Long = digits(name)?.toLongOrNull() ?: wrong(name, "a whole number")

    fun int(name: String): Int = digits(name)?.toIntOrNull() ?: wrong(name, "a whole number")

    fun positive(name: String): Int = int(name).also { if (it < 1) fail("\"$name\" is $it, but must be at least 1") }

    fun number(name: String): Double = digits(name)?.toDouble() ?: wrong(name, "a number")

    fun numberOrNull(name: String): Double? = if (value(name) is Json.Null) null else number(name)

    fun texts(name: String): List<String> = items(name).map { (it as? Json.Str ?: wrong(name, "a list of texts")).value }

    fun members(name: String): Json.Obj = value(name) as? Json.Obj ?: wrong(name, "an object")

    fun ints(name: String): List<Long> = items(name).map {
        (it as? Json.Num)?.digits?.toLongOrNull() ?: wrong(name, "a list of whole numbers")
    }

    /** One number, or the numbers of a flat list, as they were written. */
    fun numbers(name: String): List<String> {
        val value = value(name)
        val items = (value as? Json.Arr)?.items ?: listOf(value)
        return items.map { (it as? Json.Num ?: wrong(name, "a number or a flat list of numbers")).digits }
    }

    fun fields(name: String): Fields = Fields(value(name) as? Json.Obj ?: wrong(name, "an object"), "$where.$name")

    fun list(name: String): List<Fields> = items(name).mapIndexed { index, item ->
        Fields(item as? Json.Obj ?: wrong(name, "a list of objects"), "$where.$name[$index]")
    }

    fun fail(what: String): Nothing = throw SpeechpressException("$where: $what; export the bundle again")

    private fun items(name: String): List<Json> = (value(name) as? Json.Arr ?: wrong(name, "a list")).items

    private fun digits(name: String): String? = (value(name) as? Json.Num)?.digits

    private fun value(name: String): Json = json.members[name] ?: fail("has no \"$name\"")

    private fun wrong(name: String, expected: String): Nothing =
        fail("\"$name\" is ${json.members[name]?.canonical()?.take(40)}, but must be $expected")
}
