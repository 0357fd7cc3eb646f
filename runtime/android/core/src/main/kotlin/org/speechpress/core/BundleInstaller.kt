package org.speechpress.core

import java.io.File
import java.io.IOException
import java.io.InputStream

/**
 * Puts a packed bundle where ExecuTorch can read it, which takes paths of files but not assets of an app.
 *
 * @param folder where bundles are kept; each has a folder of its own in it, named after its digest.
 * @param source opens one of the packed files.
 */
class BundleInstaller(private val folder: File, private val source: (String) -> InputStream) {
    /**
     * The installed bundle, checked; it is copied when it is not there yet or is damaged.
     *
     * Throws [SpeechpressException] when the packed one is missing, cannot be copied, or is no bundle.
     */
    fun install(): Bundle = synchronized(LOCK) {
        val packed = readManifest(String(read(DOCUMENT), Charsets.UTF_8))
        val place = File(folder, packed.digest.take(16))
        openOrNull(place) ?: copy(packed, place)
    }

    private fun openOrNull(place: File): Bundle? = try {
        Bundle.open(place)
    } catch (damaged: SpeechpressException) {
        null
    }

    // The document comes last: a folder without it is no bundle, so a copy that was interrupted is never taken for one.
    private fun copy(packed: Manifest, place: File): Bundle {
        folder.deleteRecursively() // a bundle of an older version of the app takes room for nothing
        if (!place.mkdirs()) throw SpeechpressException("$place: cannot be made; is the storage full?")
        for (name in packed.files.keys + DOCUMENT) {
            try {
                open(name).use { input -> File(place, name).outputStream().use { input.copyTo(it) } }
            } catch (error: IOException) {
                throw SpeechpressException("$name: cannot be copied to $place (${error.message}); is the storage full?", error)
            }
        }
        return Bundle.open(place)
    }

    private fun read(name: String): ByteArray = open(name).use { it.readBytes() }

    private fun open(name: String): InputStream = try {
        source(name)
    } catch (error: IOException) {
        throw SpeechpressException("$name: is not in the app (${error.message}); put an exported bundle into its assets", error)
    }

    private companion object {
        /** A screen that closes while another one opens must not find half a copy. */
        val LOCK = Any()
    }
}
