package android.view;

public class View {
    public View(android.content.Context context) {}

    public final int getWidth() {
        return 0;
    }

    public final int getHeight() {
        return 0;
    }

    public void invalidate() {}

    public void setFitsSystemWindows(boolean fitSystemWindows) {}

    public boolean getFitsSystemWindows() {
        return false;
    }

    public void setPadding(int left, int top, int right, int bottom) {}

    protected void onDraw(android.graphics.Canvas canvas) {}
}
