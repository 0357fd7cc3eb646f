package org.speechpress.core

import java.io.File
import java.io.InputStream

private const val COPY_BYTES = 1 shl 16

/** A folder that was exported, checked whole. */
class Bundle private constructor(val folder: File, val manifest: Manifest) {
    val program: File get() = File(folder, PROGRAM)

    /** The clip `audio` (S) and the checkpoint's own frames (T, D) for it. */
    val golden: Map<String, HostTensor> by lazy { readSafetensors(File(folder, GOLDEN)) }

    companion object {
        /** Throws [SpeechpressException] when it is no bundle, a newer one, or not as it was exported. */
        fun open(folder: File): Bundle {
            val document = File(folder, DOCUMENT)
            if (!document.isFile) throw SpeechpressException("$folder: is no bundle (it has no $DOCUMENT)")
            val manifest = readManifest(document.readText())
            for (name in listOf(PROGRAM, GOLDEN)) {
                if (name !in manifest.files) throw SpeechpressException("$document: lists no $name; export the bundle again")
            }
            manifest.files.forEach { (name, facts) -> check(File(folder, name), facts) }
            return Bundle(folder, manifest)
        }

        private fun check(file: File, facts: FileFacts) {
            if (!file.isFile) throw SpeechpressException("$file: is missing; copy or export the bundle again")
            if (file.length() != facts.sizeBytes) {
                throw SpeechpressException(
                    "$file: has ${file.length()} bytes instead of ${facts.sizeBytes}: it was cut short or exchanged; " +
                        "copy or export the bundle again"
                )
            }
            if (file.inputStream().use(::sha256Of) != facts.sha256) {
                throw SpeechpressException("$file: is damaged or was replaced; copy or export the bundle again")
            }
        }
    }
}

internal fun sha256Of(stream: InputStream): String {
    val digest = sha256()
    val block = ByteArray(COPY_BYTES)
    while (true) {
        val count = stream.read(block)
        if (count < 0) return hex(digest.digest())
        digest.update(block, 0, count)
    }
}
