package org.speechpress.demo

import android.content.Context
import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Paint
import android.graphics.Rect
import android.view.View

/** Columns of colours that scroll from right to left; the newest one is at the right edge. */
class HeatMapView(context: Context, private val columns: Int) : View(context) {
    private val paint = Paint() // without filtering: a frame is a column with sharp edges
    private val source = Rect()
    private val target = Rect()
    private var bitmap: Bitmap? = null
    private var newest = -1 // column of the bitmap, which is a ring

    /** Show a column of ARGB colours; all have the same number of rows. */
    fun add(colours: IntArray) {
        val map = bitmap ?: Bitmap.createBitmap(columns, colours.size, Bitmap.Config.ARGB_8888).also { bitmap = it }
        newest = (newest + 1) % columns
        map.setPixels(colours, 0, 1, newest, 0, 1, colours.size)
        invalidate()
    }

    override fun onDraw(canvas: Canvas) {
        super.onDraw(canvas)
        val map = bitmap ?: return
        val oldest = (newest + 1) % columns
        val seam = width * (columns - oldest) / columns
        draw(canvas, map, oldest, columns, 0, seam)
        draw(canvas, map, 0, oldest, seam, width)
    }

    private fun draw(canvas: Canvas, map: Bitmap, from: Int, to: Int, left: Int, right: Int) {
        source.set(from, 0, to, map.height)
        target.set(left, 0, right, height)
        canvas.drawBitmap(map, source, target, paint)
    }
}
